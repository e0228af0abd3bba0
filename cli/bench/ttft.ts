/** `foretoken bench ttft`: TTFT by engine, mode and length; beside the last record of this machine, if one is named. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { machine } from '../../bench/machine.ts'
import { lineChart } from '../../bench/plot.ts'
import { readRecords } from '../../bench/report/records.ts'
import { lastLike, type Moved, movedSince, type TtftRecord } from '../../bench/ttft/regression.ts'
import { benchTtft, type TtftOutcome } from '../../bench/ttft/ttft.ts'
import { defaultModel } from '../../node/index.ts'
import type { Flags } from '../flags.ts'
import { UsageError } from '../parse.ts'
import { writeWhole } from '../session.ts'
import { columns, print, StatusLine } from '../terminal.ts'

const modes = ['exact', 'predicted', 'refined'] as const

export async function benchTtftCommand(flags: Flags, signal: AbortSignal): Promise<void> {
  const { model = defaultModel, lengths = [32, 128, 512, 1024], runs = 7 } = flags
  const engines = listed(flags.engines ?? ['foretoken'])
  const wanted = listed(flags.modes ?? modes)
  const unknown = wanted.find((mode) => !modes.includes(mode as (typeof modes)[number]))
  if (unknown !== undefined) throw new UsageError(`no mode ${unknown}; there are ${modes.join(', ')}`)
  const line = new StatusLine()
  try {
    const outcome = await benchTtft({
      model,
      engines,
      lengths,
      modes: modes.filter((mode) => wanted.includes(mode)),
      runs,
      coldRuns: 3,
      threads: flags.threads,
      cli: process.argv[1]!,
      onProgress(text) {
        signal.throwIfAborted()
        line.show(`ttft  ${text}`)
      },
    })
    line.clear()
    const record = {
      bench: 'ttft' as const,
      date: new Date().toISOString().slice(0, 10),
      model,
      machine: machine(),
      runs,
      ...outcome,
    }
    const moved = flags.against === undefined ? undefined : since(flags.against, record)
    if (flags.plot) await chart(flags.plot, record)
    if (flags.json) print(JSON.stringify({ ...record, ...(moved && { against: moved }) }))
    else print([...table(outcome), ...(moved ? told(moved) : [])].join('\n'))
  } finally {
    line.clear()
  }
}

/** Each may be a list, too. */
function listed(given: readonly string[]): string[] {
  return given.flatMap((text) => text.split(','))
}

interface Against {
  readonly file: string
  readonly rows: readonly Moved[]
}

/** The last record of this machine and model in a folder. */
function since(folder: string, record: TtftRecord): Against | { readonly file: undefined } {
  const { records } = readRecords(folder)
  const own = records.filter(({ bench }) => bench === 'ttft')
  // A record of the same day is older, too.
  const last = lastLike(
    own.map(({ data, date }) => ({ ...(data as unknown as TtftRecord), date })),
    { ...record, date: '9999' },
  )
  if (!last) return { file: undefined }
  const file = own.find(({ data }) => (data as unknown as TtftRecord).rows === last.rows)!.file
  return { file, rows: movedSince(last, record) }
}

function told(against: Against | { readonly file: undefined }): string[] {
  if (against.file === undefined) return ['', 'There is no record of this machine and model to compare with.']
  const rows = against.rows.map(({ engine, mode, length, ratio, interval, p, verdict }) => [
    engine,
    mode,
    length,
    ratio,
    `${interval[0]}..${interval[1]}`,
    p,
    verdict,
  ])
  return [
    '',
    `beside ${against.file}:`,
    ...columns(['engine,mode,tokens,ratio,95 %,p,verdict'.split(','), ...rows], 14),
  ]
}

function table({ rows, answers, cold_ms, left_out }: TtftOutcome): string[] {
  const head = 'engine,mode,tokens,p50 ms,p95 ms,CPU ms,of peak'.split(',')
  const cells = rows.map(({ engine, mode, length, ttft_ms, cpu_ms, fraction_of_peak }) => [
    engine,
    mode,
    length,
    ttft_ms.p50,
    ttft_ms.p95,
    cpu_ms ?? '',
    fraction_of_peak ?? '',
  ])
  return [
    ...columns([head, ...cells], 14),
    ...answers
      .filter(({ agrees }) => !agrees)
      .map(({ engine, text }) => `${engine} answers something else: ${JSON.stringify(text)}`),
    ...(cold_ms ? [`cold, a process of its own: ${cold_ms.p50} ms`] : []),
    ...left_out.map(({ engine, why }) => `left out: ${engine}: ${why}`),
  ]
}

/** `ttft.svg` in a folder. */
async function chart(folder: string, { model, rows, machine: { cpu } }: TtftRecord): Promise<void> {
  mkdirSync(folder, { recursive: true })
  const names = [...new Set(rows.map(({ engine, mode }) => `${engine}, ${mode}`))]
  const svg = lineChart({
    title: 'Time to first token',
    subtitle: `${model}, ${cpu}, median`,
    x: { label: 'tokens of the prompt', log: true, ticks: [...new Set(rows.map(({ length }) => length))] },
    y: { label: 'milliseconds', log: true },
    series: names.map((name) => ({
      name,
      points: rows
        .filter(({ engine, mode }) => `${engine}, ${mode}` === name)
        .map(({ length, ttft_ms }) => [length, ttft_ms.p50] as const),
    })),
  })
  await writeWhole(join(folder, 'ttft.svg'), new TextEncoder().encode(svg))
}
