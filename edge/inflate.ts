/**
 * Compressed bodies. A kilobyte of them may hold a megabyte, so that they are opened in small pieces, each when the one before has been
 * read: whoever reads counts what comes out, and what is never read is never made.
 */
import { ApiError } from './errors.ts'

export type Encoding = 'identity' | 'gzip' | 'deflate'

/** A deflated byte holds 1,032 at most: about so many kilobytes come out at once. */
const pieceBytes = 256

/** How a body is encoded. Throws an ApiError of 415 that says what is taken. */
export function encodingOf(request: Request): Encoding {
  const told = (request.headers.get('content-encoding') ?? '').trim().toLowerCase()
  if (told === '' || told === 'identity') return 'identity'
  if (told === 'gzip' || told === 'x-gzip') return 'gzip'
  if (told === 'deflate') return 'deflate'
  throw new ApiError(415, 'the body has a content-encoding that is not read; send it as gzip, deflate or as it is', {
    code: 'unsupported_media_type',
    headers: { 'accept-encoding': 'gzip, deflate' },
  })
}

/**
 * The bytes that a body holds. `most` bounds those that come in: empty blocks are endless and hold nothing. Reading rejects with an
 * ApiError of 400 for what is not of that encoding, of 413, or with what the body itself fails of.
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
          // What the decoder says of a source that failed is of no use.
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

/** What comes in, counted. */
class Source {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>
  readonly #most: number
  #taken = 0
  /** Why nothing more comes. */
  fault: unknown

  constructor(body: ReadableStream<Uint8Array>, most: number) {
    this.#reader = body.getReader()
    this.#most = most
  }

  async next(): Promise<Uint8Array | undefined> {
    try {
      const { done, value } = await this.#reader.read()
      if (done) return undefined
      this.#taken += value.length
      if (this.#taken > this.#most) throw tooLarge(this.#most)
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
  // Some clients send deflate without zlib's head.
  const { readable, writable } = new DecompressionStream(
    encoding === 'gzip' ? 'gzip' : isZlib(head) ? 'deflate' : 'deflate-raw',
  )
  // Whoever reads what comes out is told of its failure.
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

/** RFC 1950: the method is 8, and the first two bytes are a multiple of 31. */
function isZlib([first = 0, second = 0]: Uint8Array): boolean {
  return (first & 0x0f) === 8 && ((first << 8) | second) % 31 === 0
}

function notOf(encoding: Encoding): ApiError {
  return new ApiError(400, `the body is not valid ${encoding}, as its content-encoding says`, {
    code: 'invalid_encoding',
  })
}

export function tooLarge(bodyBytes: number): ApiError {
  return new ApiError(413, `the body has more than ${bodyBytes} bytes, the most that this server takes`, {
    code: 'body_too_large',
  })
}
