/** Downloads a file from an address, from the front or from where an earlier download ended. */
import { ForetokenError } from '../src/base/errors.ts'

/** Identifies a version of the file at an address, as far as the server lets the page read it. */
export interface Identity {
  /** A strong entity tag. */
  readonly etag?: string
  readonly modified?: string
  /** In bytes. */
  readonly length?: number
}

export interface Download {
  /** The offset of the first piece, in bytes: the requested one, or 0. */
  readonly from: number
  readonly identity: Identity
  readonly pieces: AsyncGenerator<Uint8Array>
}

/** A download that has begun. */
export interface Begun {
  readonly bytes: number
  /** Identity of the file that was being downloaded, if known. */
  readonly identity: Identity | undefined
  /**
   * True if a hash will verify the whole file at the end; otherwise an unchanged identity must
   * prove now that the parts belong together.
   */
  readonly hashed: boolean
}

export const nothing: Begun = { bytes: 0, identity: undefined, hashed: true }

/**
 * Continues a download if the server supports ranges and the file is unchanged; otherwise starts at
 * the front. Rejects with `network`, also when `signal` aborts.
 */
export async function download(url: URL, begun: Begun, signal?: AbortSignal): Promise<Download> {
  if (begun.bytes > 0) {
    const response = await request(url, begun, signal).catch(() => undefined)
    const whole = response?.status === 200
    if (response && (whole || continues(response, begun))) return opened(url, response, whole ? 0 : begun.bytes)
    void response?.body?.cancel().catch(() => {})
  }
  return opened(url, await request(url, nothing, signal), 0)
}

/** Returns true if no known part of the identities differs. */
function unchanged(known: Identity, now: Identity): boolean {
  return (['etag', 'modified', 'length'] as const).every(
    (part) => known[part] === undefined || now[part] === undefined || known[part] === now[part],
  )
}

/** Returns true if the identities prove that the file is unchanged. */
function proven(known: Identity, now: Identity): boolean {
  if (known.etag !== undefined && known.etag === now.etag) return true
  const { modified, length } = known
  return modified !== undefined && modified === now.modified && length !== undefined && length === now.length
}

function continues(response: Response, { bytes, identity, hashed }: Begun): boolean {
  if (response.status !== 206 || isHtml(response)) return false
  const start = rangeOf(response)?.from
  if (start !== undefined && start !== bytes) return false
  const now = identityOf(response, bytes)
  if (!identity) return hashed
  return unchanged(identity, now) && (hashed || proven(identity, now))
}

function request(url: URL, { bytes, identity }: Begun, signal?: AbortSignal): Promise<Response> {
  const headers: Record<string, string> = bytes > 0 ? { range: `bytes=${bytes}-` } : {}
  // On another origin the header needs a preflight, which few file servers answer; there the
  // response's identity is compared instead.
  if (bytes > 0 && identity?.etag && isHere(url)) headers['if-range'] = identity.etag
  // The browser's cache would store the weights a second time.
  return fetch(url, { headers, cache: 'no-store', ...(signal && { signal }) }).catch((cause) => {
    throw new ForetokenError(
      'network',
      `${url} can't be reached (${cause.message}); check the network${isHere(url) ? '' : ', and that it allows this page (CORS)'}; then load again`,
      { cause },
    )
  })
}

function opened(url: URL, response: Response, from: number): Download {
  const type = response.headers.get('content-type') ?? ''
  if (!response.ok || !response.body || isHtml(response)) {
    void response.body?.cancel().catch(() => {})
    throw new ForetokenError(
      'network',
      `${url} answers ${response.status}${type ? ` with ${type}` : ''}, not the model; is the address right?`,
    )
  }
  return { from, identity: identityOf(response, from), pieces: piecesOf(response.body) }
}

/** Yields the pieces of a body. Rejects with `network`; returning early cancels the download. */
async function* piecesOf(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = body.getReader()
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((cause) => {
        throw new ForetokenError(
          'network',
          `the download broke off (${cause.message}); load again to continue from there`,
          { cause },
        )
      })
      if (done) return
      yield value
    }
  } finally {
    reader.cancel().catch(() => {})
  }
}

function identityOf({ status, headers }: Response, from: number): Identity {
  const tag = headers.get('etag')
  const modified = headers.get('last-modified')
  // The length of a compressed body is not the file's.
  const sent = headers.has('content-encoding') ? undefined : wholeNumber(headers.get('content-length'))
  const length = status === 206 ? (rangeTotal(headers) ?? (sent === undefined ? undefined : from + sent)) : sent
  return {
    ...(tag?.startsWith('"') && { etag: tag }),
    ...(modified && { modified }),
    ...(length !== undefined && { length }),
  }
}

function rangeOf({ headers }: Response): { readonly from: number } | undefined {
  const [, from] = /^bytes (\d{1,15})-/.exec(headers.get('content-range') ?? '') ?? []
  return from === undefined ? undefined : { from: Number(from) }
}

function rangeTotal(headers: Headers): number | undefined {
  return wholeNumber(/^bytes \d+-\d+\/(\d+)$/.exec(headers.get('content-range') ?? '')?.[1])
}

function wholeNumber(text: string | null | undefined): number | undefined {
  return text && /^\d{1,15}$/.test(text) ? Number(text) : undefined
}

function isHtml({ headers }: Response): boolean {
  return (headers.get('content-type') ?? '').startsWith('text/html')
}

function isHere(url: URL): boolean {
  return url.origin === self.location.origin
}
