import { ByLength } from './by-length.ts'
import type { Estimate } from './estimate.ts'

/** The cost of reading a prompt here, by the number of tokens that are not in the prefix cache. */
export class LocalCosts {
  readonly #perToken: ByLength

  /**
   * `prior` is the first guess, in milliseconds per token. Its error is assumed to be large, so
   * that one short prompt replaces it.
   */
  constructor(prior: number) {
    this.#perToken = new ByLength(prior, 1.5)
  }

  /** True once a prompt has been read. */
  get seen(): boolean {
    return this.#perToken.seen
  }

  /** Records that `tokens` were read in `ms`. */
  learn(tokens: number, ms: number, now: number): void {
    if (tokens >= 1 && ms > 0) this.#perToken.learn(tokens, ms / tokens, now)
  }

  estimate(tokens: number, now: number): Estimate {
    const { mean, deviation, doubt } = this.#perToken.estimate(tokens, now)
    return { mean: mean * tokens, deviation: deviation * tokens, doubt: doubt * tokens }
  }
}
