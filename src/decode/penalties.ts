/** Changes to the logits that depend on what was written so far, and on the caller's wishes. */
import { ForetokenError } from '../errors.ts'

export interface Penalties {
  /** Over the whole history, once an id: positive logits are divided by it, others multiplied (Keskar et al. 2019). 1 = off. */
  readonly repetition: number
  /** Subtracted from ids that were generated before. 0 = off. */
  readonly presence: number
  /** Subtracted as many times as the id was generated before. 0 = off. */
  readonly frequency: number
  /** Added at the end. */
  readonly bias: ReadonlyMap<number, number>
}

export function isNeutral(penalties: Penalties): boolean {
  const { repetition, presence, frequency, bias } = penalties
  return repetition === 1 && presence === 0 && frequency === 0 && bias.size === 0
}

/**
 * Applies them to `scores` (vocab) in place. `history` is the prompt and what was generated, which begins at
 * `generatedFrom`. Throws `bad_argument` for a bias on an id outside the vocabulary.
 */
export function applyPenalties(
  scores: Float32Array,
  history: readonly number[],
  generatedFrom: number,
  penalties: Penalties,
): void {
  const { repetition, presence, frequency, bias } = penalties
  if (repetition !== 1)
    for (const id of new Set(history)) {
      if (id >= scores.length) continue
      const score = scores[id]!
      scores[id] = score > 0 ? score / repetition : score * repetition
    }
  if (presence !== 0 || frequency !== 0) {
    const counts = new Map<number, number>()
    for (let i = generatedFrom; i < history.length; i++) counts.set(history[i]!, (counts.get(history[i]!) ?? 0) + 1)
    for (const [id, count] of counts) if (id < scores.length) scores[id]! -= presence + frequency * count
  }
  for (const [id, value] of bias) {
    if (id >= scores.length)
      throw new ForetokenError(
        'bad_argument',
        `logitBias names id ${id}; this model's ids are 0 to ${scores.length - 1}`,
      )
    scores[id]! += value
  }
}
