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
  /**
   * Changes `scores` (vocab) in place. `history` holds the prompt and the generated tokens, which
   * begin at `generatedFrom`. If the same array only grew since the last call, only its new tokens
   * are read. Throws `bad_argument` for a bias on an id outside the vocabulary.
   */
  apply(scores: Float32Array, history: readonly number[], generatedFrom: number): void
}

/** A logit that stays finite when it is divided by the lowest temperature. */
const largest = 1e30

/** Creates the penalties of one request. */
export function createPenalties({ repetition, presence, frequency, bias }: PenaltyOptions): Penalties {
  const counting = repetition !== 1 || presence !== 0 || frequency !== 0
  const seen = new Seen()
  return {
    neutral: !counting && bias.ids.length === 0,
    apply(scores, history, generatedFrom) {
      if (counting) seen.read(history, generatedFrom)
      const { ids, generated } = seen
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

/** Tracks the distinct ids of a growing history, and how often each was generated. */
class Seen {
  readonly ids: number[] = []
  readonly generated: number[] = []
  readonly #places = new Map<number, number>()
  #history: readonly number[] = []
  #length = 0
  #generatedFrom = 0

  read(history: readonly number[], generatedFrom: number): void {
    if (history !== this.#history || history.length < this.#length || generatedFrom !== this.#generatedFrom) {
      this.ids.length = 0
      this.generated.length = 0
      this.#places.clear()
      this.#history = history
      this.#length = 0
      this.#generatedFrom = generatedFrom
    }
    for (; this.#length < history.length; this.#length++) {
      const id = defined(history[this.#length])
      let place = this.#places.get(id)
      if (place === undefined) {
        place = this.ids.length
        this.#places.set(id, place)
        this.ids.push(id)
        this.generated.push(0)
      }
      if (this.#length >= generatedFrom) this.generated[place] = defined(this.generated[place]) + 1
    }
  }
}
