/** Changes logits depending on the tokens so far and on the caller's `logitBias`. */
import { defined } from '../base/at.ts'
import { ForetokenError } from '../base/errors.ts'

/** Values to add to the logits of certain ids. */
export interface Bias {
  readonly ids: Int32Array
  readonly values: Float64Array
}

/** Settings of the penalties, all of them valid. */
export interface PenaltyOptions {
  /**
   * Applied once to each id of the whole history: positive logits are divided by it, others are
   * multiplied by it (Keskar et al. 2019). 1 = off.
   */
  readonly repetition: number
  /** Subtracted from the logits of ids that were generated before. 0 = off. */
  readonly presence: number
  /** Subtracted once for every time the id was generated before. 0 = off. */
  readonly frequency: number
  /** Added last. */
  readonly bias: Bias
}

/** Penalties of one request, with what they counted so far. */
export interface Penalties {
  /** Whether `apply` never changes anything, whatever the history. */
  readonly neutral: boolean
  /** Counts a token of the answer. */
  accept(id: number): void
  /**
   * Changes `scores` (vocab) in place. Throws `bad_argument` for a bias on an id outside the
   * vocabulary.
   */
  apply(scores: Float32Array): void
}

/** A logit that stays finite when it is divided by the lowest temperature. */
const largest = 1e30

/** Creates the penalties of one request. The repetition penalty counts the ids of its prompt, too. */
export function createPenalties(
  { repetition, presence, frequency, bias }: PenaltyOptions,
  prompt: readonly number[] = [],
): Penalties {
  const counting = repetition !== 1 || presence !== 0 || frequency !== 0
  const seen = new Seen()
  if (counting) for (const id of prompt) seen.add(id, 0)
  const { ids, generated } = seen
  return {
    neutral: !counting && bias.ids.length === 0,
    accept(id) {
      if (counting) seen.add(id, 1)
    },
    apply(scores) {
      if (repetition !== 1)
        for (const id of ids) {
          const score = scores[id]
          if (score === undefined) continue // not in the vocabulary
          scores[id] = score > 0 ? Math.min(score / repetition, largest) : score * repetition
        }
      if (presence !== 0 || frequency !== 0)
        for (let i = 0; i < ids.length; i++) {
          const id = defined(ids[i])
          const count = defined(generated[i])
          const score = scores[id]
          if (count > 0 && score !== undefined) scores[id] = score - (presence + frequency * count)
        }
      for (let i = 0; i < bias.ids.length; i++) {
        const id = defined(bias.ids[i])
        const score = scores[id]
        if (score === undefined)
          throw new ForetokenError(
            'bad_argument',
            `logitBias names id ${id}; this model's ids are 0 to ${scores.length - 1}`,
          )
        scores[id] = score + defined(bias.values[i])
      }
    },
  }
}

/** Tracks the distinct ids of prompt and answer, and how often each was generated. */
class Seen {
  readonly ids: number[] = []
  readonly generated: number[] = []
  readonly #places = new Map<number, number>()

  add(id: number, generated: 0 | 1): void {
    const place = this.#places.get(id)
    if (place !== undefined) {
      this.generated[place] = defined(this.generated[place]) + generated
      return
    }
    this.#places.set(id, this.ids.length)
    this.ids.push(id)
    this.generated.push(generated)
  }
}
