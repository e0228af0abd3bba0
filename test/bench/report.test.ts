/** Records as one page. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { readRecords } from '../../bench/report/records.ts'
import { reportOf } from '../../bench/report/report.ts'
import { grid, standard } from '../../bench/route/grid.ts'
import { messageOf } from '../../bench/ttft/ttft.ts'

const folder = mkdtempSync(join(tmpdir(), 'foretoken-report-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const machine = { cpu: 'A & B <cpu>', cores: 2, loadavg: [0.1, 0.2, 0.3], commit: 'abc' }
const ttftRow = (mode: string, length: number, p50: number) => ({
  engine: 'foretoken',
  mode,
  length,
  ttft_ms: { p50 },
  samples: [p50],
})

test("this repository's own records make a page with charts, and all of them can be read", () => {
  const found = readRecords(fileURLToPath(new URL('../../bench/record', import.meta.url)))
  expect(found.unreadable).toEqual([])
  const { html, figures } = reportOf(found)
  expect(figures.map(({ id }) => id)).toEqual(expect.arrayContaining(['peers', 'quality', 'packing', 'wire']))
  for (const { file } of found.records) expect(html).toContain(file)
  expect(html).not.toMatch(/(src|href)="http|undefined|NaN/)
})

test('each kind of record is drawn; unreadable ones are listed with the reason', () => {
  const put = (name: string, data: unknown) =>
    writeFileSync(join(folder, name), typeof data === 'string' ? data : JSON.stringify(data))
  put('2026-01-01-ttft.json', {
    bench: 'ttft',
    machine,
    rows: [ttftRow('exact', 512, 100), ttftRow('predicted', 512, 50)],
  })
  put('2026-01-05-ttft.json', { bench: 'ttft', machine, rows: [ttftRow('exact', 512, 90), ttftRow('exact', 32, 9)] })
  put('2026-01-05-route.json', {
    bench: 'route',
    machine,
    choice_map: grid({ ...standard, rtt_ms: [5], mbit_s: [20], loss: [0], requests: 2 }),
  })
  put('broken.json', '{"bench":')
  put('nameless.json', { rows: [] })
  const found = readRecords(folder)
  expect(found.records.map(({ date }) => date)).toEqual(['2026-01-01', '2026-01-05', '2026-01-05'])
  expect(found.unreadable.map(({ file }) => file)).toEqual(['broken.json', 'nameless.json'])
  const { html, figures } = reportOf(found)
  expect(figures.map(({ id }) => id)).toEqual(['ttft', 'route', 'history'])
  expect(html).toContain('A &amp; B &lt;cpu&gt;')
  expect(html).toContain('it does not name its benchmark')
  // Charts share a page, so their styles must not mix.
  expect(html).toContain('#ttft svg text{')
})

test('a message has the requested number of tokens, and its first words differ from run to run', () => {
  const engine = {
    promptIds: (messages: unknown) => (messages as { content: string }[])[0]!.content.split(' ').map((_, at) => at),
  }
  for (const length of [16, 48, 200]) {
    const [first, second] = [1, 2].map((run) => messageOf(engine as never, length, run)[0]!.content)
    expect(first!.split(' ')).toHaveLength(length)
    expect(first!.slice(0, 12)).not.toBe(second!.slice(0, 12))
  }
})
