/**
 * Lays chunks of many sequences on one flat pass: each segment has its own positions, and there is
 * no attention between segments.
 */
import { at } from '../base/at.ts'
import type { KvReader, Pass, Placed, PlacedKv, Segment } from '../base/pass.ts'
import type { Sequence } from '../kv/sequence.ts'

/** Tokens to run for one sequence: a prompt, a part of one, or a decode step. */
export interface Chunk {
  readonly sequence: Sequence
  readonly ids: readonly number[]
  /** Which of its rows produce logits. */
  readonly outputs: Exclude<ChunkRows, 'first'>
  /** Which of its rows have their final states read. Default `none`. */
  readonly states?: ChunkRows
  /** How its K and V are made. Default `exact`. */
  readonly kind?: Kind
  /** Position of its first token, which the sequence holds already: its K and V are replaced. */
  readonly from?: number
  /** The K and V of a `placed` chunk, and the index of its first token there. */
  readonly kv?: { readonly of: PlacedKv; readonly from: number }
  /** Reads its K and V. Exact chunks only. */
  readonly reader?: KvReader | undefined
}

/** Some rows of a chunk; a number stands for as many of the last. */
export type ChunkRows = 'none' | 'first' | 'last' | 'all' | number

/**
 * `predicted`: computed by a predictor above the shared layers; `refined`: computed exactly from
 * kept states, replacing predicted K and V; `placed`: given, so that no row of the pass runs it.
 */
type Kind = 'predicted' | 'exact' | 'refined' | 'placed'

/** Order along the token axis, so that every range of layers works on adjacent rows. */
const order = ['predicted', 'exact', 'refined'] as const

/**
 * Allocates the pages of all chunks and lays them side by side; on failure every sequence is
 * unchanged. Outputs and states are in the order of `chunks`, whatever the order on the axis. Chunks of one
 * sequence must be in the order of their positions.
 */
export function pack(chunks: readonly Chunk[]): Pass {
  return layOut(chunks, takePages(chunks))
}

/**
 * Lays chunks side by side whose pages are allocated: `allocated` has a segment for each. Outputs are as
 * in `pack`.
 */
export function layOut(chunks: readonly Chunk[], allocated: readonly Segment[]): Pass {
  const ids: number[] = []
  const segments: Segment[] = []
  const watched = new Map<Segment, KvReader>()
  const starts: number[] = []
  const count = { predicted: 0, exact: 0, refined: 0 }
  for (const kind of order)
    for (const [index, chunk] of chunks.entries()) {
      if ((chunk.kind ?? 'exact') !== kind) continue
      starts[index] = ids.length
      const segment = { ...at(allocated, index), start: ids.length }
      segments.push(segment)
      if (chunk.reader) watched.set(segment, chunk.reader)
      for (const id of chunk.ids) ids.push(id)
      count[kind]++
    }
  const rowsOf = (which: ChunkRows, { ids }: Chunk, index: number) => {
    const rows = countOf(which, ids.length)
    if (rows === 0) return []
    const from = at(starts, index) + (which === 'first' ? 0 : ids.length - rows)
    return Array.from({ length: rows }, (_, i) => from + i)
  }
  const outputs = chunks.flatMap((chunk, index) => rowsOf(chunk.outputs, chunk, index))
  const states = chunks.flatMap((chunk, index) => rowsOf(chunk.states ?? 'none', chunk, index))
  const placed = chunks.flatMap(({ kv }, index): Placed[] =>
    kv ? [{ segment: at(allocated, index), kv: kv.of, from: kv.from }] : [],
  )
  return {
    ids,
    segments,
    outputs,
    ...{ predicted: count.predicted, refined: count.refined },
    ...(states.length > 0 && { states }),
    ...(placed.length > 0 && { placed }),
    ...(watched.size > 0 && { watched }),
  }
}

/** Returns how many of `length` rows `which` are. */
export function countOf(which: ChunkRows, length: number): number {
  if (typeof which === 'number') return which
  return which === 'all' ? length : which === 'none' ? 0 : 1
}

/**
 * Allocates the pages of all chunks, in order, and returns one segment for each, to be laid out. On
 * failure every sequence is unchanged. Throws as `Sequence.extend` and `Sequence.again`.
 */
export function takePages(chunks: readonly Chunk[]): Segment[] {
  const allocated: Segment[] = []
  try {
    for (const { sequence, ids, from } of chunks)
      allocated.push(from === undefined ? sequence.extend(ids.length, 0) : sequence.again(from, from + ids.length))
    return allocated
  } catch (error) {
    for (let index = allocated.length - 1; index >= 0; index--) {
      const { from, sequence } = at(chunks, index)
      if (from === undefined) sequence.truncate(at(allocated, index).past)
    }
    throw error
  }
}
