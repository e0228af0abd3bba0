/** Limits the bytes of refused requests by sender, since reading them is wasted work. */
import { ApiError } from '../errors.ts'
import { Buckets, secondsUntil } from './buckets.ts'

/** The cost of refusing a request, in bytes, however small its body is. */
const perRefusal = 16 << 10

export interface RefusedLimits {
  /**
   * Bytes per minute of refused requests of one sender. A quarter may come at once, and one body
   * always.
   */
  readonly refusedBytesPerMinute: number
  /** Maximum size of a request body, in bytes. */
  readonly bodyBytes: number
}

/** The account of one request, whose body counts as refused until it is closed. */
export interface Work {
  /** Charges for a body of `bytes` in all. Throws an ApiError of 429. */
  expect(bytes: number): void
  /** Ends the account: the charge stays if the request was refused, and is given back otherwise. */
  close(refused: boolean): void
}

/**
 * Returns true if a failure is a refusal, so that the bytes stay charged. Faults of the server are
 * not.
 */
export function isRefusal({ status }: ApiError): boolean {
  return status < 500 || status === 503
}

/** The buckets of all senders. */
export class RefusedBytes {
  readonly #limits: RefusedLimits
  readonly #now: () => number
  /** By sender. */
  readonly #buckets = new Buckets()

  constructor(limits: RefusedLimits, now: () => number = () => performance.now()) {
    this.#limits = limits
    this.#now = now
  }

  /**
   * Opens the account of a request of `sender`. It is charged at once, and given back if the
   * request is answered, so that concurrent refusals are counted. With `sparesSmall`, bodies up to
   * 16 KiB are read even on an empty bucket.
   */
  work(sender: string, sparesSmall = false): Work {
    const rate = this.#limits.refusedBytesPerMinute
    const burst = Math.max(rate / 4, perRefusal + this.#limits.bodyBytes)
    const bucket = () => this.#buckets.filled(sender, rate, burst, this.#now())
    let charged = 0
    let closed = false
    return {
      expect(bytes) {
        const cost = perRefusal + bytes
        if (cost <= charged) return
        const small = sparesSmall && cost <= 2 * perRefusal
        const { left } = bucket()
        if (!small && left + charged < cost)
          throw new ApiError(429, `refused requests exceeded ${rate} bytes a minute; wait`, {
            code: 'rate_limit_exceeded',
            retryAfter: secondsUntil(left + charged, cost, rate),
          })
        bucket().left -= cost - charged
        charged = cost
      },
      close(refused) {
        if (closed) return
        closed = true
        if (!refused) bucket().left = Math.min(burst, bucket().left + charged)
      },
    }
  }
}
