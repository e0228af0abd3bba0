/** Who may ask a companion: edges that share a key with it, by signed requests that are taken once. */
import { type BodyLimits, readBytes } from '../edge/body.ts'
import { ApiError } from '../edge/errors.ts'
import { isSignedBy, Nonces, parseSigned } from '../src/index.ts'

export interface Edge {
  /** Names the key; fairness and logs are by it. */
  readonly id: string
  readonly key: Uint8Array
}

/** A request that was signed by an edge. */
export interface Verified {
  readonly edge: Edge
  /** Seals what is answered. */
  readonly nonce: string
  readonly body: Uint8Array<ArrayBuffer>
}

const refusals = {
  late: 'the time of the request is more than a minute off: set the clocks',
  replayed: 'this request was taken before; sign each anew',
  full: 'too many requests within a minute; wait',
} as const

export class Guard {
  readonly #edges: ReadonlyMap<string, Edge>
  readonly #nonces: Nonces

  constructor(edges: readonly Edge[], nonces = new Nonces()) {
    this.#edges = new Map(edges.map((edge) => [edge.id, edge]))
    this.#nonces = nonces
  }

  /** Reads a body and says whose it is. Throws an ApiError: 401, 408, 413, 429. */
  async verified(request: Request, limits: BodyLimits): Promise<Verified> {
    const signed = parseSigned(request.headers.get('authorization'))
    const edge = signed && this.#edges.get(signed.id)
    if (!signed || !edge) throw refused('the request is not signed by an edge that is known here')
    const body = await readBytes(request, limits)
    const { pathname, search } = new URL(request.url)
    if (!(await isSignedBy(edge.key, signed, { method: request.method, path: pathname + search, body })))
      throw refused('the signature does not fit the request: are both keys the same?')
    const why = this.#nonces.take(signed)
    if (why === 'full') throw new ApiError(429, refusals.full, { code: 'rate_limit_exceeded', retryAfter: 60 })
    if (why) throw refused(refusals[why])
    return { edge, nonce: signed.nonce, body }
  }
}

function refused(message: string): ApiError {
  return new ApiError(401, message, { code: 'invalid_signature', headers: { 'www-authenticate': 'Foretoken' } })
}
