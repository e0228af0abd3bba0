/** One HTTP transfer into an open part file: what the server answers, checked against what was asked. */
import type { FileHandle } from 'node:fs/promises'
import { ForetokenError } from '../src/index.ts'

export interface TransferRequest {
  readonly url: string
  readonly headers?: Readonly<Record<string, string>>
  readonly fetch: typeof fetch
  readonly signal?: AbortSignal | undefined
  /** Milliseconds to wait for an answer to begin. */
  readonly connectMs: number
  /** Milliseconds without a byte before the connection is given up. */
  readonly stallMs: number
}

/** What a part file holds: `etag` tells whether its bytes can be continued. */
export interface Part {
  have: number
  etag: string | undefined
  /** Total bytes, once they are known. */
  size: number | undefined
}

/** A transfer may be tried again: nothing is wrong with the request. `wait`: what the server asked for, in ms. */
export class Retry extends Error {
  readonly wait: number | undefined
  constructor(message: string, wait?: number, options?: { cause?: unknown }) {
    super(message, options)
    this.wait = wait
  }
}

/**
 * Fetches from `part.have` on, appending to `file` and moving `part.have`. Throws `Retry` for what may pass,
 * `not_found` and `network` for what won't.
 */
export async function transfer(
  request: TransferRequest,
  file: FileHandle,
  part: Part,
  begin: (part: Part) => Promise<void>,
  onBytes: (done: number) => void,
): Promise<void> {
  const control = new AbortController()
  const signal = request.signal ? AbortSignal.any([request.signal, control.signal]) : control.signal
  let timer = setTimeout(() => control.abort(new Error(`no answer in ${request.connectMs} ms`)), request.connectMs)
  try {
    const resume = part.have > 0 && part.etag !== undefined
    const response = await request.fetch(request.url, {
      headers: {
        'accept-encoding': 'identity',
        ...request.headers,
        ...(resume && { range: `bytes=${part.have}-`, 'if-range': part.etag! }),
      },
      signal,
    })
    refuse(response, request.url, part)
    if (response.status === 206) checkRange(response, part)
    else part.have = 0
    const length = Number(response.headers.get('content-length') ?? Number.NaN)
    if (response.status === 200 && length >= 0) part.size ??= length
    if (response.status === 200 && length >= 0 && part.size !== length)
      throw new ForetokenError('checksum', `${request.url} has ${length} bytes, ${part.size} were promised`)
    const etag = response.headers.get('etag')
    // A weak etag can't be used with If-Range: such a file is fetched again from its start.
    part.etag = etag && !etag.startsWith('W/') ? etag : undefined
    await begin(part)
    if (!response.body) throw new Retry('the answer has no body')
    for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
      clearTimeout(timer)
      if (part.size !== undefined && part.have + chunk.length > part.size)
        throw new ForetokenError('checksum', `${request.url} sends more than the ${part.size} bytes that were promised`)
      for (let done = 0; done < chunk.length; ) {
        const { bytesWritten } = await file.write(chunk, done, chunk.length - done, part.have)
        done += bytesWritten
        part.have += bytesWritten
      }
      onBytes(part.have)
      timer = setTimeout(() => control.abort(new Error(`no byte in ${request.stallMs} ms`)), request.stallMs)
    }
  } catch (error) {
    if (request.signal?.aborted)
      throw new ForetokenError('aborted', 'the download was cancelled; what has arrived is kept', { cause: error })
    if (error instanceof ForetokenError || error instanceof Retry) throw error
    if ((error as NodeJS.ErrnoException).syscall === 'write') throw error
    const reason = control.signal.aborted ? control.signal.reason.message : reasonOf(error)
    throw new Retry(reason, undefined, { cause: error })
  } finally {
    clearTimeout(timer)
    // An answer that is not read to its end must not hold its connection.
    control.abort()
  }
  if (part.size !== undefined && part.have < part.size) throw new Retry(`cut off at ${part.have} of ${part.size} bytes`)
}

function refuse(response: Response, url: string, part: Part): void {
  const { status } = response
  if (status === 200 || status === 206) return
  const place = new URL(url)
  const at = `${place.host}${place.pathname} answered ${status}`
  if (status === 416) {
    part.have = 0
    part.etag = undefined
    throw new Retry(at)
  }
  if (status === 429 || status === 408 || status >= 500) {
    const seconds = Number(response.headers.get('retry-after'))
    throw new Retry(at, Number.isFinite(seconds) && seconds > 0 ? seconds * 1000 : undefined)
  }
  if (status === 401 || status === 403)
    throw new ForetokenError(
      'not_found',
      `${at}: it needs a licence accepted or a token; set HF_TOKEN to one that may read it`,
    )
  if (status === 404 || status === 410)
    throw new ForetokenError('not_found', `${at}: there is no such file; check its name`)
  throw new ForetokenError('network', `${at}, which is no file; check the address`)
}

function checkRange(response: Response, part: Part): void {
  const found = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(response.headers.get('content-range') ?? '')
  const [, from, , total] = found ?? []
  if (found && Number(from) === part.have && (part.size === undefined || Number(total) === part.size)) {
    part.size = Number(total)
    return
  }
  part.have = 0
  part.etag = undefined
  throw new Retry('the server sent another range than was asked for')
}

/** The innermost reason of a failed fetch, such as `connect ECONNREFUSED 127.0.0.1:9`. */
export function reasonOf(error: unknown): string {
  let inner = error
  while (inner instanceof Error && inner.cause instanceof Error) inner = inner.cause
  return inner instanceof Error ? inner.message || (inner as NodeJS.ErrnoException).code || inner.name : String(inner)
}
