/** Many runs of tokens, one flat pass: segments with positions of their own and no attention between them. */

import type { Pass, Segment } from '../base/pass.ts'
import type { Sequence } from '../kv/paged.ts'

/** Tokens to run for one sequence: a prompt, a chunk of one, or a decode step. */
export interface Run {
  readonly sequence: Sequence
  readonly ids: readonly number[]
  /** Which of its rows' logits are wanted. */
  readonly outputs: 'none' | 'last' | 'all'
  /** How its K and V come about. Default `exact`. */
  readonly kind?: Kind
  /** Of a refined run: the position of its first token, which is in the sequence already. */
  readonly from?: number
}

/** `predicted`: above the shared layers by a predictor; `refined`: exact, in the place of predicted ones. */
type Kind = 'predicted' | 'exact' | 'refined'

/** Along the token axis, so that every stretch of layers works on neighbours. */
const order: readonly Kind[] = ['predicted', 'exact', 'refined']

/**
 * Takes the pages of some runs and lays them side by side; on failure every sequence is as it was. Outputs are in the order of
 * `runs`, whatever the order on the axis; runs of one sequence are given in the order of their positions.
 */
export function pack(runs: readonly Run[]): Pass {
  return layOut(runs, takePages(runs))
}

/** Lays runs side by side whose pages were taken: `taken` has a segment for each. Outputs are as in `pack`. */
export function layOut(runs: readonly Run[], taken: readonly Segment[]): Pass {
  const ids: number[] = []
  const segments: Segment[] = []
  const starts: number[] = []
  const count = { predicted: 0, exact: 0, refined: 0 }
  for (const kind of order)
    runs.forEach((run, index) => {
      if ((run.kind ?? 'exact') !== kind) return
      starts[index] = ids.length
      segments.push({ ...taken[index]!, start: ids.length })
      for (const id of run.ids) ids.push(id)
      count[kind]++
    })
  const outputs = runs.flatMap(({ outputs, ids }, index) => {
    const rows = outputs === 'all' ? ids.length : outputs === 'last' ? 1 : 0
    return Array.from({ length: rows }, (_, i) => starts[index]! + ids.length - rows + i)
  })
  return { ids, segments, outputs, predicted: count.predicted, refined: count.refined }
}

/** Takes the pages of some runs, in order: a segment for each, to be laid out. On failure every sequence is as it was. */
export function takePages(runs: readonly Run[]): Segment[] {
  const taken: Segment[] = []
  try {
    for (const { sequence, ids, kind, from = 0 } of runs)
      taken.push(kind === 'refined' ? sequence.again(from, from + ids.length) : sequence.extend(ids.length, 0))
    return taken
  } catch (error) {
    for (let index = taken.length - 1; index >= 0; index--)
      if (runs[index]!.kind !== 'refined') runs[index]!.sequence.truncate(taken[index]!.past)
    throw error
  }
}
