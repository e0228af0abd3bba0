/** Changes to the logits that depend on what was written so far, and on the caller's wishes. */
import { ForetokenError } from '../base/errors.ts'

/** What to add to the logits of some ids. */
export interface Bias {
  readonly ids: Int32Array
  readonly values: Float64Array
}

export interface PenaltyOptions {
  /** Over the whole history, once an id: positive logits are divided by it, others multiplied (Keskar et al. 2019). 1 = off. */
  readonly repetition: number
  /** Subtracted from ids that were generated before. 0 = off. */
  readonly presence: number
  /** Subtracted as many times as the id was generated before. 0 = off. */
  readonly frequency: number
  /** Added at the end. */
  readonly bias: Bias
}

export interface Penalties {
  /** Nothing is changed, whatever was written. */
  readonly neutral: boolean
  /**
   * Changes `scores` (vocab) in place. `history` is the prompt and what was generated, which begins at `generatedFrom`. A history that
   * only grew since the last call is read from where it had ended. Throws `bad_argument` for a bias on an id outside the vocabulary.
   */
  apply(scores: Float32Array, history: readonly number[], generatedFrom: number): void
}

/** A logit that stays finite when it is divided by the lowest temperature. */
const largest = 1e30

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
          if (id >= scores.length) continue
          const score = scores[id]!
          scores[id] = score > 0 ? Math.min(score / repetition, largest) : score * repetition
        }
      if (presence !== 0 || frequency !== 0)
        for (let i = 0; i < ids.length; i++) {
          const count = generated[i]!
          if (count > 0 && ids[i]! < scores.length) scores[ids[i]!]! -= presence + frequency * count
        }
      for (let i = 0; i < bias.ids.length; i++) {
        const id = bias.ids[i]!
        if (id >= scores.length)
          throw new ForetokenError(
            'bad_argument',
            `logitBias names id ${id}; this model's ids are 0 to ${scores.length - 1}`,
          )
        scores[id]! += bias.values[i]!
      }
    },
  }
}

/** The ids of a history that grows, each once, and how many times each was generated. */
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
      const id = history[this.#length]!
      let place = this.#places.get(id)
      if (place === undefined) {
        place = this.ids.length
        this.#places.set(id, place)
        this.ids.push(id)
        this.generated.push(0)
      }
      if (this.#length >= generatedFrom) this.generated[place]!++
    }
  }
}
