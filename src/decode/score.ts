/** How likely a text is: the quality figure of everything that changes the numbers. */

import { ForetokenError } from '../base/errors.ts'
import { isWhole, sumExp } from '../base/numbers.ts'
import type { Pass } from '../base/pass.ts'
import type { Sequence } from '../kv/paged.ts'
import type { Llama } from '../model/forward.ts'

/**
 * Log-probability (natural) of each of `ids` after those before it, (ids.length - 1): the first has none.
 * Runs in passes of the model's size.
 */
export async function scoreTokens(model: Llama, sequence: Sequence, ids: readonly number[]): Promise<Float64Array> {
  const scores = new Float64Array(Math.max(0, ids.length - 1))
  const { vocab } = model.config
  const bad = ids.find((id) => !isWhole(id, 0, vocab - 1))
  if (bad !== undefined)
    throw new ForetokenError('bad_argument', `token id ${bad} is outside the vocabulary 0..${vocab - 1}`)
  for (let at = 0; at < scores.length; at += model.passTokens) {
    const chunk = ids.slice(at, Math.min(at + model.passTokens, scores.length))
    const pass: Pass = { ids: chunk, segments: [sequence.extend(chunk.length, 0)], outputs: chunk.map((_, row) => row) }
    const logits = await model.forward(pass)
    for (let row = 0; row < chunk.length; row++) {
      const next = ids[at + row + 1]!
      scores[at + row] = logProbability(logits.subarray(row * vocab, (row + 1) * vocab), next)
    }
  }
  return scores
}

/** Natural log-probability of `id` under `logits`, (vocab). */
export function logProbability(logits: Float32Array, id: number): number {
  let top = Number.NEGATIVE_INFINITY
  for (const logit of logits) if (logit > top) top = logit
  return logits[id]! - top - Math.log(sumExp(logits, top))
}
