/**
 * Keeps token buckets by name. A bucket fills evenly, up to its size, and is full when it is first
 * used.
 */

export interface Bucket {
  /** Remaining amount. The caller subtracts the amount that it uses. */
  left: number
}

export class Buckets {
  /** By name. Bounded because callers use names of their config only. */
  readonly #buckets = new Map<string, Bucket & { at: number }>()

  /** Returns the bucket of `name`, filled up to the time `now` in milliseconds. */
  filled(name: string, perMinute: number, size: number, now: number): Bucket {
    const bucket = this.#buckets.get(name) ?? { left: size, at: now }
    bucket.left = Math.min(size, bucket.left + ((now - bucket.at) * perMinute) / 60_000)
    bucket.at = now
    this.#buckets.set(name, bucket)
    return bucket
  }
}

/** Returns the seconds until a bucket that holds `left` holds `amount`. */
export function secondsUntil(left: number, amount: number, perMinute: number): number {
  return ((amount - left) * 60) / perMinute
}
