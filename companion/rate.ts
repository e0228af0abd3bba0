/** How many requests an edge may make: a bucket for each, which fills by the minute and holds a minute's share. */
import { Buckets, secondsUntil } from '../edge/guard/buckets.ts'

export class Rate {
  readonly #perMinute: number
  readonly #edges = new Buckets()

  constructor(perMinute: number) {
    this.#perMinute = perMinute
  }

  /** Counts a request. Returns 0, or the seconds after which it may come again; it is not counted then. */
  count(edge: string, now = performance.now()): number {
    const rate = this.#perMinute
    const bucket = this.#edges.filled(edge, rate, rate, now)
    if (bucket.left < 1) return secondsUntil(bucket.left, 1, rate)
    bucket.left--
    return 0
  }
}
