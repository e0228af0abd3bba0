/** How long a prompt's token takes here, from the prompts that were read lately. */

/** Shorter prompts are mostly overhead. */
const leastTokens = 16
const weight = 0.2

export class Pace {
  /** Undefined before any prompt was read. */
  msPerToken: number | undefined

  /** `tokens` were read, not found in the prefix cache, in `ms`. */
  learn(ms: number, tokens: number): void {
    if (tokens < leastTokens || !(ms > 0)) return
    const now = ms / tokens
    this.msPerToken = this.msPerToken === undefined ? now : (1 - weight) * this.msPerToken + weight * now
  }
}
