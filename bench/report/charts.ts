/**
 * Charts of records: each function is given all records and draws what it can, from the newest of
 * its kind.
 */

import { at } from '../../src/base/at.ts'
import { type Chart, lineChart } from '../plot.ts'
import type { Cell } from '../route/grid.ts'
import { choiceMap } from '../route/map.ts'
import { fits, fittingOf } from '../schema.ts'
import { type BenchRecord, rowsOf } from './records.ts'

export interface Figure {
  readonly id: string
  readonly title: string
  /** A sentence about what the chart shows. */
  readonly about: string
  readonly svg: string
  readonly from: readonly BenchRecord[]
}

type Draw = (records: readonly BenchRecord[]) => Figure | undefined

export function figures(records: readonly BenchRecord[]): Figure[] {
  const draws: readonly Draw[] = [ttft, peers, quality, packing, wire, route, history]
  return draws.flatMap((draw) => draw(records) ?? [])
}

const newest = (records: readonly BenchRecord[], bench: string) =>
  records.filter((record) => record.bench === bench).at(-1)

const ttft: Draw = (records) => {
  const record = newest(records, 'ttft') ?? newest(records, 'mac')
  if (!record) return undefined
  const rows = fittingOf(rowsOf(record), {
    engine: 'string',
    mode: 'string',
    length: 'number',
    ttft_ms: { p50: 'number' },
  })
  const names = [...new Set(rows.map(({ engine, mode }) => `${engine}, ${mode}`))]
  const lengths = [...new Set(rows.map(({ length }) => length))]
  return figure(
    'ttft',
    'Time to first token',
    'From a message handed over to the first text that can be read, by the length of the prompt.',
    [record],
    {
      x: { label: 'tokens of the prompt', log: true, ticks: lengths },
      y: { label: 'milliseconds, median', log: true },
      series: names.map((name) => ({
        name,
        points: rows
          .filter(({ engine, mode }) => `${engine}, ${mode}` === name)
          .map(({ length, ttft_ms }) => [length, ttft_ms.p50] as const),
      })),
    },
  )
}

const peers: Draw = (records) => {
  const record = records.filter(({ file }) => file.includes('peers')).at(-1)
  if (!record) return undefined
  const results = fittingOf(rowsOf(record), {
    name: 'string',
    weights: 'string',
    where: 'string',
    samples: [{ tokens: 'number', prefill_ms: 'number' }],
  })
  const median = (values: readonly number[]) =>
    at(
      [...values].sort((a, b) => a - b),
      values.length >> 1,
    )
  const series = results.map(({ name, weights, where, samples }) => ({
    name: `${name} ${weights}, ${where}`,
    points: [...new Set(samples.map(({ tokens }) => tokens))].map(
      (tokens) =>
        [tokens, median(samples.filter((one) => one.tokens === tokens).map(({ prefill_ms }) => prefill_ms))] as const,
    ),
  }))
  const ticks = [...new Set(series.flatMap(({ points }) => points.map(([tokens]) => tokens)))]
  return figure(
    'peers',
    'Prefill, beside peers',
    'One thread each, in turns on one machine; every engine’s answer was checked first.',
    [record],
    {
      x: { label: 'tokens of the prompt', log: true, ticks },
      y: { label: 'milliseconds to the first logits, median', log: true },
      series,
    },
  )
}

const quality: Draw = (records) => {
  const record = newest(records, 'eval')
  if (!record) return undefined
  const rows = fittingOf(rowsOf(record), {
    suite: 'string',
    length: 'number',
    method: 'string',
    ttft_ms: 'number',
    kl: 'number',
  })
  const [{ suite, length } = { suite: '', length: 0 }] = rows
  const shown = rows.filter((row) => row.suite === suite && row.length === length && row.kl > 0)
  const methods = [...new Set(shown.map(({ method }) => method))]
  return figure(
    'quality',
    'Quality against time to first token',
    `${suite}, ${length} tokens: how far what comes next is from exact prefill’s (KL, nats), by when the first token comes.`,
    [record],
    {
      x: { label: 'time to first token, ms' },
      y: { label: 'KL from exact, nats', log: true },
      series: methods.map((method) => ({
        name: method,
        points: shown
          .filter((row) => row.method === method)
          .map(({ ttft_ms, kl }) => [ttft_ms, kl] as const)
          .sort(([a], [b]) => a - b),
      })),
    },
  )
}

const packing: Draw = (records) => {
  const found = records.filter(({ bench }) => bench === 'prepack')
  const rows = found.flatMap((record) =>
    fittingOf(rowsOf(record), { cv: 'number', predicted_speedup: 'number', speedup: { padded: 'number' } }),
  )
  if (rows.length === 0) return undefined
  const points = (of: (row: (typeof rows)[0]) => number) =>
    rows.map((row) => [row.cv, of(row)] as const).sort(([a], [b]) => a - b)
  return figure(
    'packing',
    'Packing against padding',
    'How many times as fast a packed batch is as a padded one, by how much its prompts’ lengths vary.',
    found,
    {
      x: { label: 'deviation of the lengths by their mean' },
      y: { label: 'times as fast' },
      series: [
        { name: 'measured', points: points(({ speedup }) => speedup.padded) },
        { name: 'by the count of rows', dashed: true, points: points(({ predicted_speedup }) => predicted_speedup) },
      ],
    },
  )
}

const wire: Draw = (records) => {
  const record = newest(records, 'wire')
  if (!record) return undefined
  const all = fittingOf(rowsOf(record), {
    suite: 'string',
    length: 'number',
    codec: 'string',
    bytes_per_token: 'number',
    kl: 'number',
  })
  const rows = all.filter(({ suite, length, kl }) => suite === all[0]?.suite && length === all[0]?.length && kl > 0)
  const of = (name: string, which: (codec: string) => boolean) => ({
    name,
    points: rows.filter(({ codec }) => which(codec)).map(({ bytes_per_token, kl }) => [bytes_per_token, kl] as const),
  })
  return figure(
    'wire',
    'K and V on the wire',
    'What a token’s K and V take, by how far a continuation from them is from exact.',
    [record],
    {
      x: { label: 'bytes a token', log: true },
      y: { label: 'KL from exact, nats', log: true },
      series: [
        of('f16, int8, int4', (codec) => codec !== 'residual'),
        of('predicted + residual', (codec) => codec === 'residual'),
      ],
    },
  )
}

const route: Draw = (records) => {
  const record = newest(records, 'route')
  const cells = record?.data.choice_map as readonly Cell[] | undefined
  if (!record || !cells?.length) return undefined
  const kind = cells.some((cell) => cell.kind === 'refined') ? 'refined' : at(cells, 0).kind
  const title = 'The way that the router settles on'
  return {
    id: 'route',
    title,
    about: 'By round trip, bandwidth, milliseconds a token here and at the companion, and tokens of the prompt.',
    svg: choiceMap(
      cells.filter((cell) => cell.kind === kind),
      `${title}, ${kind} requests`,
    ),
    from: [record],
  }
}

/** TTFT or prefill of 512 tokens on one thread, in records of one machine, by their dates. */
const history: Draw = (records) => {
  const found = records.flatMap((record) => {
    const row = rowsOf(record).find((one) => (one.tokens ?? one.length) === 512 && (one.mode ?? 'exact') === 'exact')
    const ms = row && timeOf(record.bench, row)
    return ms !== undefined && record.data.threads !== 2 ? [{ record, ms }] : []
  })
  const days = [...new Set(found.map(({ record }) => record.date))]
  if (days.length < 2) return undefined
  const machines = [...new Set(found.map(({ record }) => record.machine))]
  return figure(
    'history',
    'By date',
    '512 tokens, exact, as the records have it; machines differ, and so do their loads.',
    found.map(({ record }) => record),
    {
      x: { label: `records, from ${days[0]} to ${days.at(-1)}`, ticks: days.map((_, at) => at + 1) },
      y: { label: 'milliseconds' },
      series: machines.map((machine) => ({
        name: machine,
        points: found
          .filter(({ record }) => record.machine === machine)
          .map(({ record, ms }) => [days.indexOf(record.date) + 1, ms] as const),
      })),
    },
  )
}

/**
 * Returns the milliseconds of a row of `bench prefill` or `bench ttft`; undefined for other
 * benchmarks.
 */
function timeOf(bench: string, row: unknown): number | undefined {
  if (bench === 'prefill' && fits(row, { ms: 'number' })) return row.ms
  if (bench === 'ttft' && fits(row, { ttft_ms: { p50: 'number' } })) return row.ttft_ms.p50
  return undefined
}

function figure(
  id: string,
  title: string,
  about: string,
  from: readonly BenchRecord[],
  chart: Omit<Chart, 'title'>,
): Figure | undefined {
  if (!chart.series.some(({ points }) => points.length > 0)) return undefined
  return { id, title, about, from, svg: lineChart({ ...chart, title, subtitle: from.at(-1)?.machine ?? '' }) }
}
