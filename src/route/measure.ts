/**
 * Keeps running means with their spread. Old values fade, and the uncertainty of a mean grows while
 * no value arrives.
 */
import type { Estimate } from './estimate.ts'

/** Weight of a new value, once there are many. */
const weight = 0.25
/** Time without a value after which the count of known values has halved, in milliseconds. */
const halfLifeMs = 60_000
/** Time without a value after which half of the initial uncertainty is back, in milliseconds. */
const forgottenMs = 600_000
/** Outlier clamp for firm priors, in standard deviations. */
const farthest = 3
/** Deviation after one value, as a share of it. */
const firstSpread = 0.5
/** Minimum deviation, as a share of the mean, since constant values may begin to vary. */
const leastDeviation = 0.05

export class Measure {
  readonly #spread: number
  readonly #firm: boolean
  #mean: number
  #deviation: number
  #count = 0
  #at = 0

  /**
   * `mean` is the prior, with a standard deviation of `spread` times its value. The first value
   * replaces it, unless it is `firm`: then it counts as one value, and outliers are clamped, so
   * that only several of them move it far.
   */
  constructor(mean: number, spread: number, firm = false) {
    this.#mean = mean
    this.#spread = spread
    this.#firm = firm
    this.#deviation = spread * mean
  }

  /** Number of values, faded as of the last one. */
  get count(): number {
    return this.#count
  }

  /** Milliseconds since the last value. */
  age(now: number): number {
    return this.#count === 0 ? Number.POSITIVE_INFINITY : now - this.#at
  }

  /**
   * Exponentially weighted mean and variance (T. Finch, 2009); the first values weigh as in a plain
   * mean.
   */
  learn(value: number, now: number): void {
    if (!Number.isFinite(value)) return
    const known = this.#known(now)
    if (this.#count === 0 && !this.#firm) {
      this.#mean = value
      // One value does not show the spread. Most values vary less than a guess may be off.
      this.#deviation = Math.min(this.#spread, firstSpread) * Math.abs(value)
    } else {
      const share = Math.max(weight, 1 / (known + (this.#firm ? 2 : 1)))
      const most = this.#firm ? farthest * this.#deviation : Number.POSITIVE_INFINITY
      const difference = Math.min(most, Math.max(-most, value - this.#mean))
      this.#mean += share * difference
      const variance = (1 - share) * (this.#deviation ** 2 + share * difference ** 2)
      this.#deviation = Math.max(leastDeviation * Math.abs(this.#mean), Math.sqrt(variance))
    }
    this.#count = known + 1
    this.#at = now
  }

  estimate(now: number): Estimate {
    const doubt = this.#deviation / Math.sqrt(1 + this.#known(now))
    // After a long time the uncertainty is the initial one again, so that a way that was slow once
    // is tried again.
    const gone = this.#count === 0 ? 0 : 1 - 2 ** (-(now - this.#at) / forgottenMs)
    return {
      mean: this.#mean,
      deviation: this.#deviation,
      doubt: Math.hypot(doubt, gone * this.#spread * Math.abs(this.#mean)),
    }
  }

  /** Returns how many values still count: no more than the weights keep, halved by time. */
  #known(now: number): number {
    const fresh = Math.min(this.#count, 2 / weight - 1)
    return fresh * 2 ** (-Math.max(0, now - this.#at) / halfLifeMs)
  }
}
