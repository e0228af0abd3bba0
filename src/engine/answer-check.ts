/** Checks the tokens of an answer that were chosen from predicted K and V. */
import type { Scores } from '../backend/backend.ts'
import type { Draft } from '../decode/acceptance.ts'
import type { SampledToken, Sampler } from '../decode/sampling.ts'

/** A token that does not stand. */
export interface Departure {
  /** Its index in the answer. */
  readonly index: number
  /** The token that replaces it. */
  readonly token: SampledToken
  /** A sampler that has accepted the tokens before it, and how many of these the guide forced. */
  readonly sampler: Sampler
  readonly forced: number
}

/** Follows an answer from its first token, with a sampler of its own. */
export class AnswerCheck {
  readonly #sampler: Sampler
  /** Index of the next token. */
  #index: number
  /** How many tokens from there on the guide forces, as far as is known. */
  #forcing = 0
  #forced = 0

  /** `sampler` has accepted the first `index` tokens of the answer. */
  constructor(sampler: Sampler, index: number) {
    this.#sampler = sampler
    this.#index = index
  }

  /**
   * Reads the exact scores of the next token of an answer, which is `ids`; a token that was forced
   * stands. `drafts` holds what the tokens were drawn from, by index, and is emptied.
   */
  next(scores: Scores, ids: readonly number[], drafts: Map<number, Draft>): Departure | undefined {
    const index = this.#index
    const id = ids[index]
    // A complete answer may lack the token of its last row.
    if (id === undefined) return undefined
    const sampler = this.#sampler
    if (this.#forcing === 0) this.#forcing = sampler.forced().length
    if (this.#forcing > 0) {
      this.#forcing--
      this.#forced++
    } else {
      const token = sampler.check(scores, id, drafts.get(index))
      drafts.delete(index)
      if (token) return { index, token, sampler, forced: this.#forced }
    }
    sampler.accept(id)
    this.#index++
    return undefined
  }

  end(): void {
    this.#sampler.end()
  }
}
