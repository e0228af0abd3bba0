/**
 * `foretoken bench ttft`: measures TTFT by engine, mode and length, and compares with earlier
 * records.
 */
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
import { checkUse } from '../uses.ts'

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
      onOpen: (archive) => checkUse(model, archive, 'answers'),
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
    else print([...table(outcome), ...(moved ? comparisonLines(moved) : [])].join('\n'))
  } finally {
    line.clear()
  }
}

/** Splits each text at commas: a flag may be repeated or have a list. */
function listed(texts: readonly string[]): string[] {
  return texts.flatMap((text) => text.split(','))
}

interface Against {
  readonly file: string
  readonly rows: readonly Moved[]
}

/** Compares `record` with the last one of the same machine and model in a folder. */
function since(folder: string, record: TtftRecord): Against | { readonly file: undefined } {
  const { records } = readRecords(folder)
  const earlier = records.filter(({ bench }) => bench === 'ttft')
  // A record of the same day counts as older.
  const last = lastLike(
    earlier.map(({ data, date }) => ({ ...(data as unknown as TtftRecord), date })),
    { ...record, date: '9999' },
  )
  if (!last) return { file: undefined }
  const file = earlier.find(({ data }) => (data as unknown as TtftRecord).rows === last.rows)!.file
  return { file, rows: movedSince(last, record) }
}

function comparisonLines(against: Against | { readonly file: undefined }): string[] {
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
    `compared with ${against.file}:`,
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
      .map(({ engine, text }) => `${engine} gave another answer: ${JSON.stringify(text)}`),
    ...(cold_ms ? [`cold start, in a new process: ${cold_ms.p50} ms`] : []),
    ...left_out.map(({ engine, why }) => `skipped: ${engine}: ${why}`),
  ]
}

/** Writes `ttft.svg` into a folder. */
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
