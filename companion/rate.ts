/** How many requests an edge may make: a bucket for each, which fills by the minute and holds a minute's share. */

interface Bucket {
  left: number
  at: number
}

export class Rate {
  readonly #perMinute: number
  /** As many as there are edges. */
  readonly #buckets = new Map<string, Bucket>()

  constructor(perMinute: number) {
    this.#perMinute = perMinute
  }

  /** Counts a request. Returns 0, or the seconds after which it may come again; it is not counted then. */
  count(edge: string, now = performance.now()): number {
    const rate = this.#perMinute
    const bucket = this.#buckets.get(edge) ?? { left: rate, at: now }
    bucket.left = Math.min(rate, bucket.left + ((now - bucket.at) * rate) / 60_000)
    bucket.at = now
    this.#buckets.set(edge, bucket)
    if (bucket.left < 1) return ((1 - bucket.left) * 60) / rate
    bucket.left--
    return 0
  }
}
