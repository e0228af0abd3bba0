/** How much a key may ask in a minute: requests for answers, other requests, and bytes of requests that were refused. */
import type { Limits } from '../config.ts'
import { ApiError } from '../errors.ts'
import { Buckets, secondsUntil } from './buckets.ts'
import type { Caller } from './keys.ts'
import { RefusedBytes, type Work } from './refused.ts'

export class Rate {
  readonly #limits: Limits
  readonly #now: () => number
  /** By key. Whoever polls a list or a status so takes nothing of what answers may be asked for. */
  readonly #requests = { answers: new Buckets(), reads: new Buckets() }
  readonly #refused: RefusedBytes

  constructor(limits: Limits, now: () => number = () => performance.now()) {
    this.#limits = limits
    this.#now = now
    this.#refused = new RefusedBytes(limits, now)
  }

  /** Counts a request, for an answer or to read what is there; each kind has as many a minute. Throws an ApiError of 429. */
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
   * Work for a request that has just come. Without keys all callers share one bucket, which stops large bodies only: small requests of
   * one program go on beside another that sends nonsense.
   */
  work({ key }: Caller): Work {
    return this.#refused.work(key?.sha256 ?? '', key === undefined)
  }
}
