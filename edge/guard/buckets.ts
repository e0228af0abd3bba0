/** Token buckets by name: each fills evenly by the minute, up to its size, and is full when it is first asked for. */

export interface Bucket {
  left: number
}

export class Buckets {
  /** As many as there are names: callers name keys or edges of their config. */
  readonly #buckets = new Map<string, Bucket & { at: number }>()

  /** The bucket of `name` as it stands at `now`, in milliseconds; the caller takes from `left`. */
  filled(name: string, perMinute: number, size: number, now: number): Bucket {
    const bucket = this.#buckets.get(name) ?? { left: size, at: now }
    bucket.left = Math.min(size, bucket.left + ((now - bucket.at) * perMinute) / 60_000)
    bucket.at = now
    this.#buckets.set(name, bucket)
    return bucket
  }
}

/** Seconds until a bucket that holds `left` can give `amount`. */
export function secondsUntil(left: number, amount: number, perMinute: number): number {
  return ((amount - left) * 60) / perMinute
}
