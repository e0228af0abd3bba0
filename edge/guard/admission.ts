/** How much is let in: requests a minute of a key, answers being made at once. */
import type { Limits } from '../config.ts'
import { ApiError } from '../errors.ts'
import type { Caller } from './keys.ts'

/** A bucket that fills by the minute: bursts up to a minute's share. */
interface Bucket {
  left: number
  at: number
}

export class Admission {
  readonly #limits: Limits
  readonly #now: () => number
  /** By tenant and key; as many as there are keys. */
  readonly #buckets = new Map<string, Bucket>()
  readonly #running = new Map<string, number>()
  #all = 0

  constructor(limits: Limits, now: () => number = () => performance.now()) {
    this.#limits = limits
    this.#now = now
  }

  /** Answers being made now. */
  get running(): number {
    return this.#all
  }

  /** Counts a request against its key. Throws an ApiError of 429. */
  countRequest({ key }: Caller): void {
    const rate = key?.requestsPerMinute ?? this.#limits.requestsPerMinute
    if (rate === undefined) return
    const now = this.#now()
    const id = key?.sha256 ?? ''
    const bucket = this.#buckets.get(id) ?? { left: rate, at: now }
    bucket.left = Math.min(rate, bucket.left + ((now - bucket.at) * rate) / 60_000)
    bucket.at = now
    this.#buckets.set(id, bucket)
    if (bucket.left < 1)
      throw new ApiError(429, `more than ${rate} requests a minute; wait`, {
        code: 'rate_limit_exceeded',
        retryAfter: ((1 - bucket.left) * 60) / rate,
      })
    bucket.left--
  }

  /** Room for `answers` more. Returns how to give it back, once. Throws an ApiError: 429 of the key, 503 of the server. */
  enter({ key }: Caller, answers: number): () => void {
    const { concurrency, concurrencyPerKey } = this.#limits
    const id = key?.sha256 ?? ''
    const own = this.#running.get(id) ?? 0
    if (concurrencyPerKey !== undefined && own + answers > concurrencyPerKey)
      throw new ApiError(
        429,
        `${own} answers are being made for this key, of ${concurrencyPerKey} at once; wait for one`,
        {
          code: 'concurrency_limit_exceeded',
          retryAfter: 1,
        },
      )
    if (this.#all + answers > concurrency)
      throw new ApiError(503, `${this.#all} answers are being made, of ${concurrency} at once; try again`, {
        code: 'busy',
        retryAfter: 1,
      })
    this.#add(id, answers)
    let inside = true
    return () => {
      if (inside) this.#add(id, -answers)
      inside = false
    }
  }

  #add(id: string, answers: number): void {
    this.#all += answers
    const own = (this.#running.get(id) ?? 0) + answers
    if (own > 0) this.#running.set(id, own)
    else this.#running.delete(id)
  }
}
