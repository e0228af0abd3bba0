/**
 * Runs one HTTP transfer into a partial file, and checks the server's answer against the request.
 */
import { dirname } from 'node:path'
import { ForetokenError } from '../src/index.ts'
import { checkRoom, type diskSpace, megabytes } from './disk.ts'
import { Misdirected } from './misdirected.ts'
import { type PartialFile, sameVersion, type Version } from './partial.ts'

export interface TransferRequest {
  readonly url: string
  readonly headers?: Readonly<Record<string, string>>
  readonly fetch: typeof fetch
  readonly signal?: AbortSignal | undefined
  /** Milliseconds until an answer must begin. */
  readonly connectMs: number
  /** Milliseconds in which at least 1 kB must arrive; else the connection is given up. */
  readonly stallMs: number
  /** The promised size in bytes. The server's size must agree. */
  readonly size?: number | undefined
  /**
   * True if the file's hash is known. Bytes of two versions would be found then, so versions need
   * not be told apart.
   */
  readonly hashed: boolean
  /** Maximum bytes of a file whose size was not promised. */
  readonly maxBytes: number
  readonly space?: typeof diskSpace | undefined
}

/** Thrown when the transfer may be tried again because the request itself is fine. */
export class Retry extends Error {
  /** Milliseconds that the server asks to wait. */
  readonly wait: number | undefined
  /** True if the bytes so far are of another version of the file. */
  readonly anew: boolean

  constructor(message: string, { wait, anew = false, cause }: { wait?: number; anew?: boolean; cause?: unknown } = {}) {
    super(message, { cause })
    this.wait = wait
    this.anew = anew
  }
}

/** Progress that keeps a connection alive, in bytes for each `stallMs`. */
const pace = 1000
/** Longest wait that a server may ask for, in milliseconds. */
export const longestWaitMs = 60_000
/** Bytes between two checks of the free space. */
const lookBytes = 16e6
/** Encodings that `fetch` decodes by itself. */
const decoded = /^(identity|gzip|x-gzip|deflate|br)$/

/** Returns true if bytes of this version may be continued in a later request. */
export function canGoOn({ hashed }: Pick<TransferRequest, 'hashed'>, version: Version): boolean {
  return hashed || version.strong
}

/**
 * Fetches the missing bytes of `part`. Throws `Retry` for failures that may pass; `not_found`,
 * `network`, `checksum` and `disk_full` for those that will not. Returns true if bytes of an
 * earlier request were continued.
 */
export async function transfer(
  request: TransferRequest,
  part: PartialFile,
  onBytes: (done: number) => void,
): Promise<boolean> {
  const control = new AbortController()
  const signal = request.signal ? AbortSignal.any([request.signal, control.signal]) : control.signal
  const clock = new StallClock(request, (reason) => control.abort(new Error(reason)))
  try {
    const from = part.have > 0 && canGoOn(request, part.version) ? part.have : 0
    const condition = part.version.strong ? (part.version.etag ?? part.version.lastModified) : undefined
    const response = await request.fetch(request.url, {
      headers: {
        'accept-encoding': 'identity',
        ...request.headers,
        ...(from > 0 && { range: `bytes=${from}-`, ...(condition && { 'if-range': condition }) }),
      },
      signal,
    })
    const begun = begin(request, response, part, from)
    await part.begin(begun.from, begun.version, begun.size)
    await checkRoom(dirname(part.path), begun.size === undefined ? 0 : begun.size - begun.from, request.space)
    if (!response.body) throw new Retry('the answer has no body')
    let looked = part.have
    onBytes(part.have)
    for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
      clock.stop()
      checkLength(request, part, chunk.length)
      if (part.have + chunk.length - looked >= lookBytes) {
        await checkRoom(dirname(part.path), chunk.length, request.space)
        looked = part.have
      }
      await part.write(chunk)
      onBytes(part.have)
      clock.came(chunk.length)
    }
    if (part.size !== undefined && part.have < part.size)
      throw new Retry(`cut off at ${part.have} of ${part.size} bytes`)
    part.size ??= part.have
    return begun.from > 0
  } catch (error) {
    if (request.signal?.aborted)
      throw new ForetokenError('aborted', 'the download was cancelled; what has arrived is kept', { cause: error })
    if (error instanceof ForetokenError || error instanceof Retry || isFileError(error)) throw error
    if (error instanceof Misdirected)
      throw new ForetokenError('network', `${request.url}: ${error.message}`, { cause: error })
    throw new Retry(control.signal.aborted ? control.signal.reason.message : reasonOf(error), { cause: error })
  } finally {
    clock.stop()
    // An answer that is not read to its end must not hold its connection.
    control.abort()
  }
}

/** Gives up a connection that is silent, or too slow to ever finish. */
class StallClock {
  readonly #stallMs: number
  readonly #onStall: (reason: string) => void
  #timer: ReturnType<typeof setTimeout>
  #due: number
  #stopped = 0
  #bytes = 0

  constructor({ connectMs, stallMs }: TransferRequest, onStall: (reason: string) => void) {
    this.#stallMs = stallMs
    this.#onStall = onStall
    this.#due = performance.now() + stallMs
    this.#timer = setTimeout(() => onStall(`no answer in ${connectMs} ms`), connectMs)
  }

  /** Stops the clock, because nobody waits for the server while bytes are written. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#stopped = performance.now()
  }

  came(bytes: number): void {
    this.#bytes += bytes
    const now = performance.now()
    this.#due += now - this.#stopped
    if (this.#bytes >= pace) {
      this.#bytes = 0
      this.#due = now + this.#stallMs
    }
    const reason = `fewer than ${pace} bytes in ${this.#stallMs} ms`
    this.#timer = setTimeout(() => this.#onStall(reason), Math.max(0, this.#due - now))
  }
}

/**
 * Returns where the answer's bytes begin and how long the whole file is. Throws if they cannot be
 * used.
 */
function begin(request: TransferRequest, response: Response, part: PartialFile, from: number) {
  const { url } = request
  if (response.status === 416) throw pastTheEnd(request, response, from)
  refuse(response, url)
  const plain = isPlain(response, url)
  // Offsets into an encoded answer mean nothing in the next one.
  const version = plain ? versionOf(response) : { strong: false }
  if (response.status === 206) {
    const size = rangeOf(response, from)
    if (size === undefined || !plain) throw new Retry('the server sent another range than the requested one', anew)
    if (from > 0 && !continues(request, part, response))
      throw new Retry('the file was replaced while it was fetched', anew)
    if (from > 0 && part.size !== undefined && part.size !== size)
      throw new Retry(`the file has ${size} bytes, and had ${part.size} before`, anew)
    return { from, version, size: promised(request, size) }
  }
  if (!request.hashed && /^text\/html\b/i.test(response.headers.get('content-type') ?? ''))
    throw new ForetokenError(
      'network',
      `${at(response, url)} with a web page, not a file; check the address, or sign in to the network`,
    )
  const length = plain ? lengthOf(response) : undefined
  if (length === undefined && request.size === undefined && !request.hashed && !showsItsEnd(response))
    throw new ForetokenError(
      'network',
      `${at(response, url)} without a length, so a truncated file would look complete; add #sha256= and its hash to the address`,
    )
  return { from: 0, version, size: promised(request, length) }
}

const anew = { anew: true, wait: 0 }

/**
 * Returns the failure of a range that begins beyond the end of the file. Throws `checksum` if the
 * length that the answer names is not the promised one.
 */
function pastTheEnd(request: TransferRequest, response: Response, from: number): Retry {
  const total = /^bytes \*\/(\d{1,15})$/.exec(response.headers.get('content-range') ?? '')?.[1]
  if (total !== undefined) promised(request, Number(total))
  return new Retry(`${at(response, request.url)}: it has no bytes from ${from} on`, anew)
}

/** Returns the total of a `content-range` that begins at `from` and goes to the end of the file. */
function rangeOf(response: Response, from: number): number | undefined {
  const found = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/.exec(response.headers.get('content-range') ?? '')
  const [begin, last, total = 0] = (found ?? []).slice(1).map(Number)
  return found && begin === from && last === total - 1 ? total : undefined
}

/** Returns true if a range has the same version as the part. */
function continues({ hashed }: TransferRequest, { version }: PartialFile, response: Response): boolean {
  const now = versionOf(response)
  if (version.strong) return sameVersion(version, now)
  return hashed && (version.etag === undefined || now.etag === undefined || version.etag === now.etag)
}

function versionOf({ headers }: Response): Version {
  const etag = headers.get('etag') ?? undefined
  const lastModified = headers.get('last-modified') ?? undefined
  if (etag !== undefined) return { etag, lastModified, strong: !etag.startsWith('W/') }
  // A date counts whole seconds: a file that changed in the last minute may change again under the
  // same date (RFC 9110, 8.8.2.2).
  const age = Date.parse(headers.get('date') ?? '') - Date.parse(lastModified ?? '')
  return { lastModified, strong: age >= 60_000 }
}

/** Returns the size that all sources agree on. A broken promise is final. */
function promised({ url, size, maxBytes }: TransferRequest, found: number | undefined): number | undefined {
  if (size !== undefined && found !== undefined && found !== size)
    throw new ForetokenError('checksum', `${url} has ${found} bytes, ${size} were promised`)
  if (size === undefined && found !== undefined && found > maxBytes) throw tooLong(url, maxBytes, `has ${found} bytes`)
  return size ?? found
}

function checkLength({ url, maxBytes }: TransferRequest, { have, size }: PartialFile, more: number): void {
  if (size !== undefined && have + more > size)
    throw new ForetokenError('checksum', `${url} sends more than the ${size} bytes that were promised`)
  if (size === undefined && have + more > maxBytes) throw tooLong(url, maxBytes, 'does not end')
}

function tooLong(url: string, maxBytes: number, what: string): ForetokenError {
  return new ForetokenError(
    'network',
    `${url} ${what}, more than the ${megabytes(maxBytes)} that a file may have; raise it with --max-download if that is right`,
  )
}

function refuse(response: Response, url: string): void {
  const { status } = response
  if (new URL(url).protocol === 'https:' && response.url.startsWith('http:'))
    throw new ForetokenError('network', `${new URL(url).host} leads to ${new URL(response.url).host} by http; refused`)
  if (status === 200 || status === 206) return
  const answer = at(response, url)
  if (status === 429 || status === 408 || status >= 500) {
    const wait = retryAfter(response)
    // If the server asks for more, waiting for a part of it would be in vain.
    if (wait !== undefined && wait > longestWaitMs)
      throw new ForetokenError(
        'network',
        `${answer} and asks to wait ${span(wait)}, more than the ${longestWaitMs / 1000} s that are allowed; run it again then`,
        { cause: new Retry(answer) },
      )
    throw new Retry(answer, wait === undefined ? {} : { wait })
  }
  if (status === 401 || status === 403)
    throw new ForetokenError(
      'not_found',
      `${answer}: it needs a licence accepted or a token; set HF_TOKEN to one that may read it`,
    )
  if (status === 404 || status === 410)
    throw new ForetokenError('not_found', `${answer}: there is no such file; check its name`)
  throw new ForetokenError('network', `${answer}, not with a file; check the address`)
}

/**
 * Parses seconds or a date into milliseconds from now. Returns undefined for anything else, and for
 * a time that has passed.
 */
function retryAfter({ headers }: Response): number | undefined {
  const text = headers.get('retry-after')?.trim()
  if (!text) return undefined
  // A bare number that is not a count of seconds would be read as a year.
  const wait = /^\d+$/.test(text) ? Number(text) * 1000 : /[a-z]/i.test(text) ? Date.parse(text) - Date.now() : 0
  return wait > 0 ? wait : undefined
}

function span(ms: number): string {
  if (ms < 7_200_000) return `${Math.ceil(ms / 60_000)} minutes`
  return ms < 172_800_000 ? `${Math.ceil(ms / 3_600_000)} hours` : `${Math.ceil(ms / 86_400_000)} days`
}

/**
 * Returns true if the bytes on the wire are the file's own. Lengths and ranges of encoded bytes are
 * not. Throws for an unknown encoding.
 */
function isPlain(response: Response, url: string): boolean {
  const codings = (response.headers.get('content-encoding') ?? '').toLowerCase().split(',')
  const all = codings.map((coding) => coding.trim()).filter((coding) => coding !== '' && coding !== 'identity')
  const unknown = all.find((coding) => !decoded.test(coding))
  if (unknown !== undefined)
    throw new ForetokenError(
      'network',
      `${at(response, url)} in the encoding ${JSON.stringify(unknown)}, which was not requested`,
    )
  return all.length === 0
}

function lengthOf({ headers }: Response): number | undefined {
  const text = headers.get('content-length')
  return text !== null && /^\d{1,15}$/.test(text) ? Number(text) : undefined
}

/** Returns true if the end of the body can be told from a cut connection. */
function showsItsEnd({ headers }: Response): boolean {
  return headers.has('content-length') || /chunked/i.test(headers.get('transfer-encoding') ?? '')
}

function at({ status }: Response, url: string): string {
  const { host, pathname } = new URL(url)
  return `${host}${pathname} answered ${status}`
}

function isFileError(error: unknown): boolean {
  return /^(write|open|rename|ftruncate|fdatasync|fsync|close|stat|statfs|unlink)$/.test(
    (error as NodeJS.ErrnoException).syscall ?? '',
  )
}

/** Returns the innermost reason of a failed fetch, such as `connect ECONNREFUSED 127.0.0.1:9`. */
export function reasonOf(error: unknown): string {
  let inner = error
  while (inner instanceof Error && inner.cause instanceof Error) inner = inner.cause
  return inner instanceof Error ? inner.message || (inner as NodeJS.ErrnoException).code || inner.name : String(inner)
}
