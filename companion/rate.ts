/**
 * Limits the requests of each edge: a bucket that fills evenly and holds the requests of a minute.
 */
import { Buckets, secondsUntil } from '../edge/guard/buckets.ts'

/** The rate limits of all edges. */
export class Rate {
  readonly #perMinute: number
  readonly #edges = new Buckets()

  constructor(perMinute: number) {
    this.#perMinute = perMinute
  }

  /**
   * Counts a request and returns 0, or returns the seconds to wait without counting it. `now` is in
   * milliseconds.
   */
  count(edge: string, now = performance.now()): number {
    const rate = this.#perMinute
    const bucket = this.#edges.filled(edge, rate, rate, now)
    if (bucket.left < 1) return secondsUntil(bucket.left, 1, rate)
    bucket.left--
    return 0
  }
}
