/** Many runs of tokens, one flat pass: segments with positions of their own and no attention between them. */
import type { Sequence } from '../kv/paged.ts'
import type { Pass, Segment } from '../types.ts'

/** Tokens to run for one sequence: a prompt, a chunk of one, or a decode step. */
export interface Run {
  readonly sequence: Sequence
  readonly ids: readonly number[]
  /** Which of its rows' logits are wanted. */
  readonly outputs: 'none' | 'last' | 'all'
}

/** Lays runs side by side and takes their KV pages; on failure every sequence is as it was. */
export function pack(runs: readonly Run[]): Pass {
  const ids: number[] = []
  const segments: Segment[] = []
  const outputs: number[] = []
  try {
    for (const run of runs) {
      const start = ids.length
      segments.push(run.sequence.extend(run.ids.length, start))
      for (const id of run.ids) ids.push(id)
      if (run.outputs === 'last') outputs.push(ids.length - 1)
      if (run.outputs === 'all') for (let row = start; row < ids.length; row++) outputs.push(row)
    }
  } catch (error) {
    segments.forEach((segment, index) => {
      runs[index]!.sequence.truncate(segment.past)
    })
    throw error
  }
  return { ids, segments, outputs }
}
