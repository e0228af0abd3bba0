/** How much a key may ask in a minute: requests for answers, other requests, and bytes of requests that were refused. */
import type { Limits } from '../config.ts'
import { ApiError } from '../errors.ts'
import { Buckets, secondsUntil } from './buckets.ts'
import type { Caller } from './keys.ts'

/** What refusing takes however small the body is, as bytes. */
const perRefusal = 16 << 10

/** The body of one request, as work that may be in vain. */
export interface Work {
  /** The body has, or will have, this many bytes. Throws an ApiError of 429. */
  expect(bytes: number): void
  /** The end: refused work stays counted, what was answered does not. */
  settle(refused: boolean): void
}

export class Rate {
  readonly #limits: Limits
  readonly #now: () => number
  /** By key. Whoever polls a list or a status so takes nothing of what answers may be asked for. */
  readonly #requests = { answers: new Buckets(), reads: new Buckets() }
  readonly #refused = new Buckets()

  constructor(limits: Limits, now: () => number = () => performance.now()) {
    this.#limits = limits
    this.#now = now
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
   * Work for a request that has just come. Its bytes are taken at once, and given back when it was not in vain: so the many that are
   * refused at the same time count, too. Without keys all callers share one bucket, which stops large bodies only: small requests of
   * one program go on beside another that sends nonsense.
   */
  work({ key }: Caller): Work {
    const rate = this.#limits.refusedBytesPerMinute
    const burst = Math.max(rate / 4, perRefusal + this.#limits.bodyBytes)
    const bucket = () => this.#refused.filled(key?.sha256 ?? '', rate, burst, this.#now())
    let taken = 0
    let settled = false
    return {
      expect(bytes) {
        const cost = perRefusal + bytes
        if (cost <= taken) return
        const small = key === undefined && cost <= 2 * perRefusal
        const { left } = bucket()
        if (!small && left + taken < cost)
          throw new ApiError(429, `too much was sent that had to be refused: ${rate} bytes a minute are read; wait`, {
            code: 'rate_limit_exceeded',
            retryAfter: secondsUntil(left + taken, cost, rate),
          })
        bucket().left -= cost - taken
        taken = cost
      },
      settle(refused) {
        if (settled) return
        settled = true
        if (!refused) bucket().left = Math.min(burst, bucket().left + taken)
      },
    }
  }
}
