/**
 * Admits signed requests of edges that share a key with the companion, each once. A stranger costs
 * only a check of the head: no byte of a body is read before its head is verified as an edge's,
 * fresh, and within the edge's limits.
 */
import { ApiError, asApiError } from '../edge/errors.ts'
import { isRefusal, RefusedBytes, type RefusedLimits, type Work } from '../edge/guard/refused.ts'
import {
  isBodyOf,
  isSignedBy,
  Nonces,
  parseSigned,
  Shares,
  type Signed,
  signatureVersion,
  signedVersion,
} from '../src/index.ts'
import { type BodyBounds, readSignedBody } from './body.ts'
import { Rate } from './rate.ts'

/** An edge that may use the companion. */
export interface Edge {
  /** Names the key, also for fairness and logs. */
  readonly id: string
  readonly key: Uint8Array
}

/** A request with a valid signature of an edge. */
export interface Verified {
  readonly edge: Edge
  /** Seals the answer. */
  readonly nonce: string
  readonly body: Uint8Array<ArrayBuffer>
  /** Account of its bytes, which count as refused until the caller settles it. */
  readonly work: Work
}

export interface GuardLimits extends RefusedLimits {
  /** Requests of one edge per minute. */
  readonly requestsPerMinute: number
  /** Maximum size of all bodies being read, of all edges, in bytes. */
  readonly bodiesBytes: number
}

const defaultLimits: GuardLimits = {
  requestsPerMinute: 6000,
  bodiesBytes: 64 << 20,
  refusedBytesPerMinute: 256 << 20,
  bodyBytes: 4 << 20,
}

const refusals = {
  late: 'the time of the request is more than a minute off: set the clocks',
  replayed: 'this request was taken before; sign each anew',
} as const

/** Verifies requests, and limits what each edge sends. */
export class Guard {
  readonly #edges: ReadonlyMap<string, Edge>
  readonly #nonces: Nonces
  readonly #rate: Rate
  readonly #bodies: Shares
  /** By edge. The host bounds what it drains of strangers' bodies. */
  readonly #refused: RefusedBytes

  constructor(edges: readonly Edge[], nonces = new Nonces(), limits: Partial<GuardLimits> = {}, now?: () => number) {
    const all = { ...defaultLimits, ...limits }
    const { requestsPerMinute, bodiesBytes } = all
    this.#edges = new Map(edges.map((edge) => [edge.id, edge]))
    this.#nonces = nonces
    this.#rate = new Rate(requestsPerMinute)
    this.#bodies = new Shares(bodiesBytes, edges.length > 1 ? 'past-half' : 'all')
    this.#refused = new RefusedBytes(all, now)
  }

  /** Bytes of bodies being read. */
  get bodiesBytes(): number {
    return this.#bodies.used
  }

  /**
   * Reads the body of a request and verifies both. Throws an ApiError of 400, 401, 408, 413, 429 or
   * 503.
   */
  async verified(request: Request, bounds: BodyBounds): Promise<Verified> {
    const { edge, signed } = await this.#head(request, bounds.bodyBytes)
    const { length } = signed
    if (!this.#bodies.fits(edge.id, length))
      throw new ApiError(503, `${this.#bodies.used} bytes of bodies are being read; try again`, {
        code: 'busy',
        retryAfter: 1,
      })
    const work = this.#refused.work(edge.id)
    work.expect(length)
    const release = this.#bodies.take(edge.id, length)
    try {
      const body = await readSignedBody(request, length, bounds)
      if (!(await isBodyOf(signed, body))) throw refused('the body is not the one that was signed')
      return { edge, nonce: signed.nonce, body, work }
    } catch (error) {
      work.close(isRefusal(asApiError(error)))
      throw error
    } finally {
      release()
    }
  }

  /** Checks everything that the head alone shows, the cheapest first. */
  async #head(request: Request, bodyBytes: number): Promise<{ readonly edge: Edge; readonly signed: Signed }> {
    const authorization = request.headers.get('authorization')
    const signed = parseSigned(authorization)
    const version = signedVersion(authorization)
    if (version !== undefined && version !== signatureVersion)
      throw refused(
        `the request is signed in version ${version}, and this companion takes version ${signatureVersion}: run the same foretoken at both ends`,
      )
    const edge = signed && this.#edges.get(signed.id)
    if (!signed || !edge) throw refused('the request is not signed by an edge that is known here')
    if (this.#nonces.isLate(signed)) throw refused(refusals.late)
    if (signed.length > bodyBytes)
      throw new ApiError(413, `the body has ${signed.length} bytes; at most ${bodyBytes} are taken`, {
        code: 'body_too_large',
      })
    const { pathname, search } = new URL(request.url)
    if (!(await isSignedBy(edge.key, signed, { method: request.method, path: pathname + search })))
      throw refused('the signature does not fit the request: are both keys the same?')
    const wait = this.#rate.count(edge.id)
    if (wait > 0) throw tooMany(wait)
    const why = this.#nonces.take(signed)
    if (why === 'full') throw tooMany(60)
    if (why) throw refused(refusals[why])
    return { edge, signed }
  }
}

function tooMany(retryAfter: number): ApiError {
  return new ApiError(429, `too many requests of this edge; wait ${Math.max(1, Math.ceil(retryAfter))} s`, {
    code: 'rate_limit_exceeded',
    retryAfter,
  })
}

function refused(message: string): ApiError {
  return new ApiError(401, message, { code: 'invalid_signature', headers: { 'www-authenticate': 'Foretoken' } })
}
