/** A file's bytes from an address, from the front or from where an earlier download ended. */
import { ForetokenError } from '../src/index.ts'

/** What tells one state of the file at an address from another, as far as the server lets the page read it. */
export interface Identity {
  /** A strong one. */
  readonly etag?: string
  readonly modified?: string
  /** In bytes. */
  readonly length?: number
}

export interface Download {
  /** The byte at which the pieces begin: the one that was asked for, or 0. */
  readonly from: number
  readonly identity: Identity
  readonly pieces: AsyncGenerator<Uint8Array>
}

/** A download that was begun. */
export interface Begun {
  readonly bytes: number
  /** Of the file that it was begun from, where that is known. */
  readonly identity: Identity | undefined
  /** A hash tells at the end whether the parts belong together; else an unchanged identity must prove it now. */
  readonly hashed: boolean
}

export const nothing: Begun = { bytes: 0, identity: undefined, hashed: true }

/** Goes on behind what was begun if the server gives ranges and the file is still the same, else begins at the front. Rejects with `network`. */
export async function download(url: URL, begun: Begun): Promise<Download> {
  if (begun.bytes > 0) {
    const response = await request(url, begun).catch(() => undefined)
    const whole = response?.status === 200
    if (response && (whole || continues(response, begun))) return opened(url, response, whole ? 0 : begun.bytes)
    void response?.body?.cancel().catch(() => {})
  }
  return opened(url, await request(url, nothing), 0)
}

/** Whether both are known to be one state of a file, in spite of what one of them may not know. */
function unchanged(known: Identity, now: Identity): boolean {
  return (['etag', 'modified', 'length'] as const).every(
    (part) => known[part] === undefined || now[part] === undefined || known[part] === now[part],
  )
}

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

function request(url: URL, { bytes, identity }: Begun): Promise<Response> {
  const headers: Record<string, string> = bytes > 0 ? { range: `bytes=${bytes}-` } : {}
  // Elsewhere the header would need a preflight, which few file servers answer: there what comes is compared.
  if (bytes > 0 && identity?.etag && isHere(url)) headers['if-range'] = identity.etag
  // A browser's cache would keep the weights a second time.
  return fetch(url, { headers, cache: 'no-store' }).catch((cause) => {
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

/** Rejects with `network`; who stops early ends the download. */
async function* piecesOf(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = body.getReader()
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((cause) => {
        throw new ForetokenError(
          'network',
          `the download broke off (${cause.message}); load again to go on from there`,
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
  // The length of a compressed body says nothing of the file's.
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
