/** Says which tokens a request's part of a pass runs, and which of their rows give scores and states. */
import type { Sequence } from '../kv/sequence.ts'
import type { Chunk, ChunkRows } from '../pack/pack.ts'
import { placedChunks } from '../pack/placements.ts'
import type { Share } from './policy.ts'
import type { Job, StatesReader, Task } from './task.ts'

/** Chooses which tokens of prompts are predicted; `predict/choice.ts` implements it. */
export interface Planning {
  begin(sequence: Sequence, length: number, mode: NonNullable<Job['mode']>): boolean
  /** Cost of a predicted or refined row divided by the cost of an exact one. */
  readonly rowCost: Readonly<Record<'predicted' | 'refined', number>>
  chunks(sequence: Sequence, ids: readonly number[], outputs: Chunk['outputs']): Chunk[]
}

/** Cost of a placed token divided by the cost of an exact row: its K and V are converted and written. */
export const placedCost = 0.02

/**
 * `step`: one decode step; `prompt`: the next tokens of a prompt, or of an answer that is recomputed;
 * `refine`: recomputes the first inexact tokens.
 */
export type ShareKind = 'step' | 'prompt' | 'refine'

interface Part extends Share<Task> {
  readonly kind: ShareKind
}

/** Maximum number of scores of one request that a pass keeps in order to check its answer: 8 MiB. */
const checkedScores = 1 << 21

/** Returns the number of a request's rows in a pass whose whole scores may be checked. */
export function checkedRowsOf(vocab: number): number {
  return Math.max(1, Math.floor(checkedScores / vocab))
}

/**
 * Returns the number of tokens of a part, from position `from` on, of which no more are checked than
 * `most`. Lists of the best scores are short, so that any number is.
 */
export function checkableCount({ candidate: task, count }: Part, from: number, most: number): number {
  if (Number.isFinite(task.best) || task.checks(from, from + count) <= most) return count
  return Math.max(from, task.unchecked.from) + most - from
}

/** Returns the chunks of a part, which begins at position `from`. */
export function chunksOf({ candidate: task, count, kind }: Part, from: number, planning?: Planning): Chunk[] {
  const { sequence, tokens, job } = task
  const to = from + count
  const ids = tokens.slice(from, to)
  const checked = task.checks(from, to) > 0 ? to - Math.max(from, task.unchecked.from) : 0
  const outputs = checked > 0 ? checked : choosesAt(task, kind, to) ? 'last' : 'none'
  // Without kept states all layers run again.
  if (kind === 'refine') return [{ sequence, ids, outputs, kind: sequence.states?.placed ? 'exact' : 'refined', from }]
  if (job.kv) return [{ sequence, ids, outputs: 'none', reader: job.kv }]
  if (job.states) {
    const states = statesOf(job.states, from === 0, to === tokens.length)
    return [{ sequence, ids, outputs: 'none', states }]
  }
  if (sequence.states?.placed) return placedChunks(sequence, tokens, task.placements, { from, to, outputs })
  return planning?.chunks(sequence, ids, outputs) ?? [{ sequence, ids, outputs }]
}

/** Returns whether the row before position `to` gives the scores of the next token. */
export function choosesAt({ doubted, settling, sequence, tokens, reads }: Task, kind: ShareKind, to: number): boolean {
  if (reads || settling) return false
  return kind === 'refine' ? doubted && to === sequence.length : to === tokens.length
}

/** Returns which states of a chunk are read, which may be the first or the last of its prompt. */
function statesOf({ rows }: StatesReader, first: boolean, last: boolean): ChunkRows {
  return rows === 'all' || (rows === 'first' ? first : last) ? rows : 'none'
}
