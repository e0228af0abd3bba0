/** `foretoken bench report [DIR]`: makes one page of all records. */
import { existsSync, mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { readRecords } from '../../bench/report/records.ts'
import { reportOf } from '../../bench/report/report.ts'
import { ForetokenError } from '../../node/index.ts'
import type { Flags } from '../flags.ts'
import { writeWhole } from '../session.ts'
import { note, print } from '../terminal.ts'

export async function benchReportCommand(folder: string, flags: Flags): Promise<void> {
  if (!existsSync(folder))
    throw new ForetokenError('not_found', `${folder}: no such folder; name a folder of records, such as bench/record`)
  const found = readRecords(folder)
  if (found.records.length === 0)
    throw new ForetokenError(
      'not_found',
      `${folder} has no readable record; make one with \`foretoken bench ttft --json\``,
    )
  const { html, figures } = reportOf(found)
  const out = flags.out ?? 'foretoken-report.html'
  if (out !== '-') mkdirSync(dirname(out), { recursive: true })
  const encoder = new TextEncoder()
  await writeWhole(out, encoder.encode(html))
  if (flags.plot) {
    mkdirSync(flags.plot, { recursive: true })
    for (const { id, svg } of figures) await writeWhole(join(flags.plot, `${id}.svg`), encoder.encode(svg))
  }
  for (const { file, why } of found.unreadable) note(`not read: ${file}: ${why}`)
  const records = found.records.length
  if (flags.json) print(JSON.stringify({ report: out, records, figures: figures.map(({ id }) => id) }))
  else if (out !== '-') print(out)
}
