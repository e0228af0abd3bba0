/**
 * Decompresses bodies. A compressed kilobyte may hold a megabyte, so input is decompressed in small
 * pieces, each only when the output of the previous one has been read: the reader counts the
 * output, and what is never read is never produced.
 */
import { ApiError } from './errors.ts'

export type Encoding = 'identity' | 'gzip' | 'deflate'

/**
 * Bytes of compressed input per step. Each inflates to at most 1,032 bytes, so a step yields at
 * most about 256 KiB.
 */
const pieceBytes = 256

/** Returns the encoding of a body. Throws an ApiError of 415 that names the supported ones. */
export function encodingOf(request: Request): Encoding {
  const encoding = (request.headers.get('content-encoding') ?? '').trim().toLowerCase()
  if (encoding === '' || encoding === 'identity') return 'identity'
  if (encoding === 'gzip' || encoding === 'x-gzip') return 'gzip'
  if (encoding === 'deflate') return 'deflate'
  throw new ApiError(
    415,
    'the content-encoding of the body is not supported; send it as gzip, as deflate or uncompressed',
    {
      code: 'unsupported_media_type',
      headers: { 'accept-encoding': 'gzip, deflate' },
    },
  )
}

/**
 * Returns the decoded bytes of a body. `most` limits the compressed bytes, since empty blocks can
 * go on forever without output. Reading rejects with an ApiError of 400 for invalid data, with 413,
 * or with the body's own failure.
 */
export function decoded(
  body: ReadableStream<Uint8Array>,
  encoding: Exclude<Encoding, 'identity'>,
  most: number,
): ReadableStream<Uint8Array> {
  const source = new Source(body, most)
  let out: ReadableStreamDefaultReader<Uint8Array> | undefined
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          out ??= await opened(source, encoding)
          const { done, value } = await out.read()
          if (done) controller.close()
          else controller.enqueue(value)
        } catch {
          source.cancel()
          // If the source failed, the decoder's own error is meaningless.
          throw source.fault ?? notOf(encoding)
        }
      },
      cancel(reason) {
        void out?.cancel(reason).catch(() => {})
        source.cancel()
      },
    },
    { highWaterMark: 0 },
  )
}

/** The compressed input, counted. */
class Source {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>
  readonly #most: number
  #bytes = 0
  /** Why reading failed. */
  fault: unknown

  constructor(body: ReadableStream<Uint8Array>, most: number) {
    this.#reader = body.getReader()
    this.#most = most
  }

  async next(): Promise<Uint8Array | undefined> {
    try {
      const { done, value } = await this.#reader.read()
      if (done) return undefined
      this.#bytes += value.length
      if (this.#bytes > this.#most) throw tooLarge(this.#most)
      return value
    } catch (error) {
      this.fault ??= error
      throw error
    }
  }

  cancel(): void {
    void this.#reader.cancel().catch(() => {})
  }
}

async function opened(
  source: Source,
  encoding: Exclude<Encoding, 'identity'>,
): Promise<ReadableStreamDefaultReader<Uint8Array>> {
  let head = (await source.next()) ?? new Uint8Array()
  while (head.length < 2) {
    const more = await source.next()
    if (!more) break
    head = Uint8Array.of(...head, ...more)
  }
  // Some clients send deflate without the zlib header.
  const { readable, writable } = new DecompressionStream(
    encoding === 'gzip' ? 'gzip' : isZlib(head) ? 'deflate' : 'deflate-raw',
  )
  // The reader of the output sees the failure.
  feed(source, head, writable.getWriter()).catch(() => {})
  return readable.getReader()
}

async function feed(
  source: Source,
  head: Uint8Array,
  writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>,
): Promise<void> {
  writer.closed.catch(() => {})
  try {
    for (let piece: Uint8Array | undefined = head; piece; piece = await source.next())
      for (let at = 0; at < piece.length; at += pieceBytes) {
        await writer.ready
        await writer.write(piece.slice(at, at + pieceBytes))
      }
    await writer.close()
  } catch (error) {
    await writer.abort(error)
  }
}

/** Detects a zlib header (RFC 1950): method 8, and the first two bytes are a multiple of 31. */
function isZlib([first = 0, second = 0]: Uint8Array): boolean {
  return (first & 0x0f) === 8 && ((first << 8) | second) % 31 === 0
}

function notOf(encoding: Encoding): ApiError {
  return new ApiError(400, `the body is not valid ${encoding}, as its content-encoding says`, {
    code: 'invalid_encoding',
  })
}

export function tooLarge(bodyBytes: number): ApiError {
  return new ApiError(413, `the body has more than ${bodyBytes} bytes, the maximum that this server accepts`, {
    code: 'body_too_large',
  })
}
