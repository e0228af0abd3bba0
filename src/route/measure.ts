/** A running mean with its spread; old values fade, and what was not seen for long is known less well. */

export interface Estimate {
  readonly mean: number
  /** Standard deviation of what comes next. */
  readonly deviation: number
  /** Standard deviation of the mean itself: how little is known. */
  readonly doubt: number
}

/** How much a new value counts, once there are many. */
const weight = 0.25
/** After so long without a value half of what is known is forgotten, milliseconds. */
const halfLifeMs = 60_000

export class Measure {
  #mean: number
  #variance: number
  #count = 0
  #at = 0

  /** Until values come `mean` is believed, with a spread of `spread` of it. */
  constructor(mean: number, spread: number) {
    this.#mean = mean
    this.#variance = (spread * mean) ** 2
  }

  get count(): number {
    return this.#count
  }

  /** Exponentially weighted mean and variance (T. Finch, 2009); the first values weigh as in a plain mean. */
  learn(value: number, now: number): void {
    if (!Number.isFinite(value)) return
    const known = this.#known(now)
    const share = Math.max(weight, 1 / (known + 1))
    const difference = value - this.#mean
    this.#mean += share * difference
    this.#variance = (1 - share) * (this.#variance + share * difference ** 2)
    this.#count = known + 1
    this.#at = now
  }

  estimate(now: number): Estimate {
    const deviation = Math.sqrt(this.#variance)
    return { mean: this.#mean, deviation, doubt: deviation / Math.sqrt(1 + this.#known(now)) }
  }

  /** As many values as are still believed: what fades keeps no more than the weights do. */
  #known(now: number): number {
    const fresh = Math.min(this.#count, 2 / weight - 1)
    return fresh * 2 ** (-Math.max(0, now - this.#at) / halfLifeMs)
  }
}
