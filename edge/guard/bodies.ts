/**
 * The bytes of bodies that have been promised or have come, of all requests that have not begun to run. A body that arrives more slowly
 * than it could gives way when there is no room for another, so that held bodies lock nobody out.
 */
import { Shares } from '../../src/index.ts'
import type { Limits } from '../config.ts'
import { ApiError } from '../errors.ts'

/** What a request takes beside its body: its connection, headers and buffers. */
const perRequest = 16 << 10
/** A body that is no larger has room of its own, an eighth of the budget beside it: large ones can't fill that. */
const smallBytes = 64 << 10
/** Below so many bytes a second, measured over a second at least, a body gives way. */
const briskBytes = 64 << 10
const windowMs = 1000

/** One body's part of the budget. */
export interface BodyRoom {
  /** The body has, or will have, this many bytes. Throws an ApiError of 429 or 503 where there is no room. */
  expect(bytes: number): void
  /** Bytes came. */
  arrived(bytes: number): void
  /** All has come: it gives way no more. */
  whole(): void
  /** Called when it must give way, at most once. */
  onEvict: (() => void) | undefined
  /** Gives the room back; may be called twice. */
  release(): void
}

interface Body {
  readonly tenant: string
  bytes: number
  /** Pace: bytes since `since`, and the pace of the time before. */
  since: number
  recent: number
  pace: number
  evict: (() => void) | undefined
  /** Its request is over; what is still on its way takes nothing more. */
  over: boolean
}

export class Bodies {
  readonly #shares: Shares
  readonly #now: () => number
  readonly #arriving = new Set<Body>()

  constructor({ bodiesBytes }: Limits, several: boolean, now: () => number = () => performance.now()) {
    this.#shares = new Shares(bodiesBytes, several ? 'half' : 'all')
    this.#now = now
  }

  /** Bytes that are held now, with what each request takes beside them. */
  get bytes(): number {
    return this.#shares.used
  }

  /** Throws an ApiError of 429 or 503. */
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
    this.#take(body, perRequest)
    this.#arriving.add(body)
    return {
      expect: (bytes) => this.#take(body, perRequest + bytes),
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

  #take(body: Body, bytes: number): void {
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

  /** The slowest gives way, if it is slow. */
  #evict(but: Body, tenant?: string): boolean {
    const now = this.#now()
    let slowest: Body | undefined
    for (const body of this.#arriving)
      if (body !== but && body.evict && (tenant === undefined || body.tenant === tenant))
        if (!slowest || paceOf(body, now) < paceOf(slowest, now)) slowest = body
    if (!slowest || paceOf(slowest, now) >= briskBytes) return false
    this.#release(slowest)
    slowest.evict!()
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

/** Bytes a second: of the time at hand once it is long enough to tell, else of the one before. */
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
