/**
 * Lays out a prompt some of whose tokens are not run, because their K and V are known: rows of a pass
 * run the others, and what is known is placed between them at no row.
 */
import type { PlacedKv } from '../base/pass.ts'
import type { Sequence } from '../kv/sequence.ts'
import type { Chunk } from './pack.ts'

/** Tokens `from`..`to` - 1 of a prompt, whose K and V are those of `kv` from index `at` on. */
export interface Placement {
  readonly from: number
  readonly to: number
  readonly kv: PlacedKv
  readonly at: number
}

/** Returns how many of the tokens `from`..`to` - 1 are run. `placements` are in order. */
export function rowsBetween(placements: readonly Placement[], from: number, to: number): number {
  return placements.reduce((rows, placed) => rows - overlap(placed, from, to), to - from)
}

/**
 * Returns the position behind the next `rows` rows from position `from` on, and behind the placed
 * tokens before each of them. At least one row is run before `length`.
 */
export function positionAfter(placements: readonly Placement[], from: number, rows: number): number {
  let [at, left] = [from, rows]
  for (const placed of placements) {
    if (placed.to <= at) continue
    const before = Math.max(0, placed.from - at)
    if (left <= before) break
    left -= before
    at = placed.to
  }
  return at + left
}

/** Returns the chunks of tokens `from`..`to` - 1 of a prompt, which follow those that `sequence` holds. */
export function placedChunks(
  sequence: Sequence,
  tokens: readonly number[],
  placements: readonly Placement[],
  { from, to, outputs }: { readonly from: number; readonly to: number; readonly outputs: Chunk['outputs'] },
): Chunk[] {
  const chunks: Chunk[] = []
  const run = (first: number, end: number) => {
    if (first < end) chunks.push({ sequence, ids: tokens.slice(first, end), outputs: end === to ? outputs : 'none' })
  }
  let at = from
  for (const placed of placements) {
    const [first, end] = [Math.max(placed.from, at), Math.min(placed.to, to)]
    if (first >= end) continue
    run(at, first)
    const kv = { of: placed.kv, from: placed.at + first - placed.from }
    chunks.push({ sequence, ids: tokens.slice(first, end), outputs: 'none', kind: 'placed', kv })
    at = end
  }
  run(at, to)
  return chunks
}

function overlap(placed: Placement, from: number, to: number): number {
  return Math.max(0, Math.min(placed.to, to) - Math.max(placed.from, from))
}
