/** Bytes of requests that had to be refused, by who sent them: work in vain has a rate of its own. */
import { ApiError } from '../errors.ts'
import { Buckets, secondsUntil } from './buckets.ts'

/** The cost of refusing a request, in bytes, however small its body is. */
const perRefusal = 16 << 10

export interface RefusedLimits {
  /** Bytes per minute of refused requests of one name. A quarter may come at once, and one body always. */
  readonly refusedBytesPerMinute: number
  /** Maximum size of a request body, in bytes. */
  readonly bodyBytes: number
}

/** The body of one request, as work that may be in vain. */
export interface Work {
  /** The body has, or will have, this many bytes. Throws an ApiError of 429. */
  expect(bytes: number): void
  /** The end: refused work stays counted, what was answered does not. */
  settle(refused: boolean): void
}

/** Whether a failure refuses a request, so that its bytes stay counted: a fault of the server is not the sender's. */
export function isRefusal({ status }: ApiError): boolean {
  return status < 500 || status === 503
}

export class RefusedBytes {
  readonly #limits: RefusedLimits
  readonly #now: () => number
  /** By name. */
  readonly #buckets = new Buckets()

  constructor(limits: RefusedLimits, now: () => number = () => performance.now()) {
    this.#limits = limits
    this.#now = now
  }

  /**
   * Work for a request of `name`. Its bytes are taken at once, and given back when it was not in vain: so the many that are refused at
   * the same time count, too. `sparesSmall`: bodies of up to 16 KiB are taken even from an empty bucket.
   */
  work(name: string, sparesSmall = false): Work {
    const rate = this.#limits.refusedBytesPerMinute
    const burst = Math.max(rate / 4, perRefusal + this.#limits.bodyBytes)
    const bucket = () => this.#buckets.filled(name, rate, burst, this.#now())
    let taken = 0
    let settled = false
    return {
      expect(bytes) {
        const cost = perRefusal + bytes
        if (cost <= taken) return
        const small = sparesSmall && cost <= 2 * perRefusal
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
