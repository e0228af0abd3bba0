/**
 * Budgets the bytes of request bodies, announced or received, until their requests begin to run.
 * When there is no room for another body, one that arrives slowly is evicted, so that clients that
 * hold bodies back can't lock others out.
 */
import { Shares } from '../../src/index.ts'
import type { Limits } from '../config.ts'
import { ApiError } from '../errors.ts'

/** Cost of a request in addition to its body, in bytes: connection, headers and buffers. */
const perRequest = 16 << 10
/**
 * Bodies up to this size, in bytes, may also use a reserve of an eighth of the budget, which large
 * ones can't fill.
 */
const smallBytes = 64 << 10
/** A body slower than this, in bytes per second over at least one second, may be evicted. */
const briskBytes = 64 << 10
const windowMs = 1000

/** The room of one body in the budget. */
export interface BodyRoom {
  /**
   * Reserves room for a body of `bytes` in all. Throws an ApiError of 429 or 503 if there is none.
   */
  expect(bytes: number): void
  /** Reports received bytes, for the pace. */
  arrived(bytes: number): void
  /** Reports the end of the body, which is not evicted from then on. */
  whole(): void
  /** Called at most once, when the body is evicted. */
  onEvict: (() => void) | undefined
  /** Gives the room back. May be called twice. */
  release(): void
}

interface Body {
  readonly tenant: string
  bytes: number
  /** Begin of the current window, in milliseconds. */
  since: number
  /** Bytes of the current window. */
  recent: number
  /** Pace of the window before, in bytes per second. */
  pace: number
  evict: (() => void) | undefined
  /** True once the request is over; a body that still arrives takes no more room. */
  over: boolean
}

/** The budget of all bodies of a server. */
export class Bodies {
  readonly #shares: Shares
  readonly #now: () => number
  readonly #arriving = new Set<Body>()

  constructor({ bodiesBytes }: Limits, several: boolean, now: () => number = () => performance.now()) {
    this.#shares = new Shares(bodiesBytes, several ? 'half' : 'all')
    this.#now = now
  }

  /** Bytes held now, including the cost of each request. */
  get bytes(): number {
    return this.#shares.used
  }

  /** Reserves room for a request whose body is not known yet. Throws an ApiError of 429 or 503. */
  enter(tenant: string): BodyRoom {
    const body: Body = {
      tenant,
      bytes: 0,
      since: this.#now(),
      recent: 0,
      pace: Infinity,
      evict: undefined,
      over: false,
    }
    this.#reserve(body, perRequest)
    this.#arriving.add(body)
    return {
      expect: (bytes) => this.#reserve(body, perRequest + bytes),
      arrived: (bytes) => this.#arrived(body, bytes),
      whole: () => void this.#arriving.delete(body),
      get onEvict() {
        return body.evict
      },
      set onEvict(evict) {
        body.evict = evict
      },
      release: () => this.#release(body),
    }
  }

  #reserve(body: Body, bytes: number): void {
    const more = bytes - body.bytes
    if (more <= 0 || body.over) return
    const { tenant } = body
    const shares = this.#shares
    const reserve = bytes <= perRequest + smallBytes ? shares.total >> 3 : 0
    const fair = () => shares.isFair(tenant, more) || shares.heldBy(tenant) + more <= reserve >> 1
    while (!fair()) if (!this.#evict(body, tenant)) throw full(429, shares.heldBy(tenant))
    while (!shares.hasRoom(more, reserve)) if (!this.#evict(body)) throw full(503, shares.used)
    body.bytes = bytes
    shares.add(tenant, more)
  }

  /** Evicts the slowest body other than `but`, if it is slow. Returns false if there is none. */
  #evict(but: Body, tenant?: string): boolean {
    const now = this.#now()
    let slowest: Body | undefined
    for (const body of this.#arriving)
      if (body !== but && body.evict && (tenant === undefined || body.tenant === tenant))
        if (!slowest || paceOf(body, now) < paceOf(slowest, now)) slowest = body
    if (!slowest || paceOf(slowest, now) >= briskBytes) return false
    this.#release(slowest)
    slowest.evict?.()
    return true
  }

  #arrived(body: Body, bytes: number): void {
    const now = this.#now()
    body.recent += bytes
    if (now - body.since < windowMs) return
    body.pace = paceOf(body, now)
    body.since = now
    body.recent = 0
  }

  #release(body: Body): void {
    body.over = true
    this.#arriving.delete(body)
    this.#shares.add(body.tenant, -body.bytes)
    body.bytes = 0
  }
}

/**
 * Returns the pace in bytes per second: of the current window once it is long enough, else of the
 * one before.
 */
function paceOf({ since, recent, pace }: Body, now: number): number {
  const elapsed = now - since
  return elapsed < windowMs ? pace : (recent * 1000) / elapsed
}

function full(status: 429 | 503, held: number): ApiError {
  const whose = status === 429 ? 'of this key ' : ''
  return new ApiError(status, `bodies ${whose}take ${held} bytes already; send this again in a moment`, {
    code: status === 429 ? 'concurrency_limit_exceeded' : 'busy',
    retryAfter: 1,
  })
}
