/** Scores how likely a text is: the measure of quality for everything that changes the numbers. */

import { at } from '../base/at.ts'
import { ForetokenError } from '../base/errors.ts'
import { isWhole } from '../base/numbers.ts'
import type { Pass } from '../base/pass.ts'
import type { Sequence } from '../kv/sequence.ts'
import type { LoadedModel } from '../model/forward.ts'
import { argmax, logSumExp } from './logprobs.ts'

/**
 * Returns the natural log-probability of each of `ids` after those before it, (ids.length - 1): the
 * first has none. Runs in passes of the model's size. Throws `bad_argument` for an id outside the
 * vocabulary.
 */
export async function scoreTokens(
  model: LoadedModel,
  sequence: Sequence,
  ids: readonly number[],
): Promise<Float64Array> {
  const scores = new Float64Array(Math.max(0, ids.length - 1))
  const { vocab } = model.config
  const bad = ids.find((id) => !isWhole(id, 0, vocab - 1))
  if (bad !== undefined)
    throw new ForetokenError('bad_argument', `token id ${bad} is outside the vocabulary 0..${vocab - 1}`)
  for (let from = 0; from < scores.length; from += model.passTokens) {
    const chunk = ids.slice(from, Math.min(from + model.passTokens, scores.length))
    const pass: Pass = { ids: chunk, segments: [sequence.extend(chunk.length, 0)], outputs: chunk.map((_, row) => row) }
    const logits = await model.forward(pass)
    for (let row = 0; row < chunk.length; row++) {
      const next = at(ids, from + row + 1)
      scores[from + row] = logProbability(logits.subarray(row * vocab, (row + 1) * vocab), next)
    }
  }
  return scores
}

/** Returns the natural log-probability of `id` under `logits` (vocab). */
export function logProbability(logits: Float32Array, id: number): number {
  return at(logits, id) - logSumExp(logits, at(logits, argmax(logits)))
}
