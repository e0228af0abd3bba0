/**
 * Limits what a key may request per minute: answers, other requests, and bytes of refused requests.
 */
import type { Limits } from '../config.ts'
import { ApiError } from '../errors.ts'
import { Buckets, secondsUntil } from './buckets.ts'
import type { Caller } from './keys.ts'
import { RefusedBytes, type Work } from './refused.ts'

/** The rate limits of all keys. */
export class Rate {
  readonly #limits: Limits
  readonly #now: () => number
  /** By key. Polling a list or a status uses up none of the requests for answers. */
  readonly #requests = { answers: new Buckets(), reads: new Buckets() }
  readonly #refused: RefusedBytes

  constructor(limits: Limits, now: () => number = () => performance.now()) {
    this.#limits = limits
    this.#now = now
    this.#refused = new RefusedBytes(limits, now)
  }

  /**
   * Counts a request for an answer, or one that only reads; both kinds have the same limit. Throws
   * an ApiError of 429.
   */
  countRequest({ key }: Caller, kind: 'answers' | 'reads'): void {
    const rate = key?.requestsPerMinute ?? this.#limits.requestsPerMinute
    const bucket = this.#requests[kind].filled(key?.sha256 ?? '', rate, rate, this.#now())
    if (bucket.left < 1)
      throw new ApiError(429, `more than ${rate} requests a minute; wait`, {
        code: 'rate_limit_exceeded',
        retryAfter: secondsUntil(bucket.left, 1, rate),
      })
    bucket.left--
  }

  /**
   * Returns the account of a new request. Without keys all callers share one bucket, which stops
   * only large bodies, so that small requests of one program continue while another sends invalid
   * ones.
   */
  work({ key }: Caller): Work {
    return this.#refused.work(key?.sha256 ?? '', key === undefined)
  }
}
