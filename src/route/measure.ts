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
/** After so long half of the first doubt is back, milliseconds. */
const forgottenMs = 600_000
/** Of what is believed firmly: a value further off than so many deviations counts as one at that distance. */
const farthest = 3
/** Deviation after one value, of that value. */
const firstSpread = 0.5
/** Of the mean: what never varied may begin to. */
const leastDeviation = 0.05

export class Measure {
  readonly #spread: number
  readonly #firm: boolean
  #mean: number
  #deviation: number
  #count = 0
  #at = 0

  /**
   * Until values come `mean` is believed, with a deviation of `spread` of it. A guess gives way to the first value; a belief that is `firm`
   * counts as one value, and an outlier is no law: only several move it far.
   */
  constructor(mean: number, spread: number, firm = false) {
    this.#mean = mean
    this.#spread = spread
    this.#firm = firm
    this.#deviation = spread * mean
  }

  get count(): number {
    return this.#count
  }

  /** Milliseconds since the last value. */
  age(now: number): number {
    return this.#count === 0 ? Number.POSITIVE_INFINITY : now - this.#at
  }

  /** Exponentially weighted mean and variance (T. Finch, 2009); the first values weigh as in a plain mean. */
  learn(value: number, now: number): void {
    if (!Number.isFinite(value)) return
    const known = this.#known(now)
    if (this.#count === 0 && !this.#firm) {
      this.#mean = value
      // One value tells nothing of how they vary; that most vary less than a guess may be off is known.
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
    // In the end it is doubted as at first: what was slow once gets tried again.
    const gone = this.#count === 0 ? 0 : 1 - 2 ** (-(now - this.#at) / forgottenMs)
    return {
      mean: this.#mean,
      deviation: this.#deviation,
      doubt: Math.hypot(doubt, gone * this.#spread * Math.abs(this.#mean)),
    }
  }

  /** As many values as are still believed: what fades keeps no more than the weights do. */
  #known(now: number): number {
    const fresh = Math.min(this.#count, 2 / weight - 1)
    return fresh * 2 ** (-Math.max(0, now - this.#at) / halfLifeMs)
  }
}

/** The least of the last values: of times that something else may lengthen, but nothing can shorten. */
export class Least {
  readonly #guess: number
  readonly #of: number
  readonly #last: number[] = []

  /** Of the last `of` values; `guess` until one comes. */
  constructor(guess: number, of: number) {
    this.#guess = guess
    this.#of = of
  }

  learn(value: number): void {
    if (!(value >= 0 && value < Number.POSITIVE_INFINITY)) return
    this.#last.push(value)
    if (this.#last.length > this.#of) this.#last.shift()
  }

  get value(): number {
    return this.#last.length === 0 ? this.#guess : Math.min(...this.#last)
  }
}

/** Prompt lengths by powers of two. */
const buckets = 14
/** What a length that was never seen may differ from the nearest that was, of the mean. */
const unlike = 0.15

/** A measure for each length of prompts, by powers of two; a length that was never seen is taken to be as the nearest that was. */
export class ByLength {
  readonly #measures: readonly Measure[]

  constructor(mean: number, spread: number, firm = false) {
    this.#measures = Array.from({ length: buckets }, () => new Measure(mean, spread, firm))
  }

  /** Whether any length was. */
  get seen(): boolean {
    return this.#measures.some(({ count }) => count > 0)
  }

  learn(tokens: number, value: number, now: number): void {
    this.#measures[bucketOf(tokens)]!.learn(value, now)
  }

  estimate(tokens: number, now: number): Estimate {
    const bucket = bucketOf(tokens)
    for (let apart = 0; apart < buckets; apart++)
      for (const at of [bucket + apart, bucket - apart]) {
        const measure = this.#measures[at]
        if (!measure || measure.count === 0) continue
        const { mean, deviation, doubt } = measure.estimate(now)
        return { mean, deviation, doubt: apart === 0 ? doubt : Math.hypot(doubt, unlike * mean) }
      }
    return this.#measures[bucket]!.estimate(now)
  }
}

function bucketOf(tokens: number): number {
  return Math.min(buckets - 1, 31 - Math.clz32(Math.max(1, tokens)))
}
