/** Measures what depends on the length of prompts. */

import { at } from '../base/at.ts'
import type { Estimate } from './estimate.ts'
import { Measure } from './measure.ts'

/** Number of ranges of prompt lengths, by powers of two. */
const buckets = 14
/** Standard deviation between neighbouring ranges, as a share of the mean. */
const unlike = 0.15

/**
 * Keeps a measure for each range of prompt lengths. A range without values uses the estimate of the
 * nearest one that has some.
 */
export class ByLength {
  readonly #measures: readonly Measure[]

  constructor(mean: number, spread: number, firm = false) {
    this.#measures = Array.from({ length: buckets }, () => new Measure(mean, spread, firm))
  }

  /** True once there is a value. */
  get seen(): boolean {
    return this.#measures.some(({ count }) => count > 0)
  }

  learn(tokens: number, value: number, now: number): void {
    at(this.#measures, bucketOf(tokens)).learn(value, now)
  }

  estimate(tokens: number, now: number): Estimate {
    const bucket = bucketOf(tokens)
    for (let apart = 0; apart < buckets; apart++)
      for (const neighbour of [bucket + apart, bucket - apart]) {
        const measure = this.#measures[neighbour]
        if (!measure || measure.count === 0) continue
        const { mean, deviation, doubt } = measure.estimate(now)
        return { mean, deviation, doubt: apart === 0 ? doubt : Math.hypot(doubt, unlike * mean) }
      }
    return at(this.#measures, bucket).estimate(now)
  }
}

function bucketOf(tokens: number): number {
  return Math.min(buckets - 1, 31 - Math.clz32(Math.max(1, tokens)))
}
