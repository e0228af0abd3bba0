/** Estimates the time to read a token of a prompt, from recent prompts. */

/** Shorter prompts, in tokens, are mostly overhead and not counted. */
const leastTokens = 16
/** Weight of the latest prompt in the moving average. */
const weight = 0.2

/** The estimate, which follows changes. */
export class Pace {
  /** Milliseconds per token; undefined before the first prompt. */
  msPerToken: number | undefined

  /**
   * Adds a prompt of which `tokens` were computed, not found in the prefix cache, in `ms`
   * milliseconds.
   */
  learn(ms: number, tokens: number): void {
    if (tokens < leastTokens || !(ms > 0)) return
    const latest = ms / tokens
    this.msPerToken = this.msPerToken === undefined ? latest : (1 - weight) * this.msPerToken + weight * latest
  }
}
