/**
 * Compares a run with the last record of the same machine: what changed, by how much, and whether
 * it can be chance.
 */
import { defined } from '../../src/base/at.ts'
import type { Machine } from '../machine.ts'
import { round } from '../stats.ts'
import { compare, holm } from './significance.ts'
import type { TtftRow } from './ttft.ts'

export interface TtftRecord {
  readonly bench: 'ttft'
  readonly date: string
  readonly model: string
  readonly machine: Machine
  readonly rows: readonly TtftRow[]
}

export interface Moved {
  readonly engine: string
  readonly mode: string
  readonly length: number
  /** The new times divided by the old, and its 95 % interval. */
  readonly ratio: number
  readonly interval: readonly [number, number]
  /** The probability of no difference, corrected for the number of rows. */
  readonly p: number
  readonly verdict: 'slower' | 'faster' | 'same'
}

/** Smaller changes are not reported, however certain they are. */
const leastRatio = 0.03
const most = 0.05

/** Compares the rows that both have, in the order of the new record. */
export function movedSince(before: TtftRecord, now: TtftRecord): Moved[] {
  const pairs = now.rows.flatMap((row) => {
    const old = before.rows.find(
      ({ engine, mode, length }) => engine === row.engine && mode === row.mode && length === row.length,
    )
    return old && old.samples.length > 0 && row.samples.length > 0
      ? [{ row, ...compare(old.samples, row.samples) }]
      : []
  })
  const ps = holm(pairs.map(({ p }) => p))
  return pairs.map(({ row, ratio, interval }, at): Moved => {
    const sure = defined(ps[at]) < most && Math.abs(ratio - 1) > leastRatio
    return {
      engine: row.engine,
      mode: row.mode,
      length: row.length,
      ratio: round(ratio, 3),
      interval: [round(interval[0], 3), round(interval[1], 3)],
      p: round(defined(ps[at]), 2),
      verdict: !sure ? 'same' : ratio > 1 ? 'slower' : 'faster',
    }
  })
}

/** Returns the newest record of the same machine and model. */
export function lastLike(records: readonly TtftRecord[], { machine, model, date }: TtftRecord): TtftRecord | undefined {
  const same = (record: TtftRecord) =>
    record.model === model &&
    record.machine.cpu === machine.cpu &&
    record.machine.cores === machine.cores &&
    record.date < date
  return records.filter(same).sort((a, b) => (a.date < b.date ? 1 : -1))[0]
}
