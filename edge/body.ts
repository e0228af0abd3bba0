/**
 * A request's body, read under limits: its bytes are counted while they arrive, whatever content-length says, into one buffer that
 * grows. A body that can't be taken is given up at its first fault; the host drains what is still on its way.
 */
import { parseJson } from '../src/index.ts'
import { ApiError, stopping } from './errors.ts'
import type { BodyRoom } from './guard/bodies.ts'
import type { Work } from './guard/refused.ts'
import type { ShapeCounter } from './guard/shape.ts'
import { decoded, encodingOf, tooLarge } from './inflate.ts'

export interface BodyLimits {
  /** Maximum size of a body. */
  readonly bodyBytes: number
  /** Maximum time until a body has arrived. */
  readonly bodySeconds: number
  /** Minimum pace of a body, over 5 seconds. Default 0. */
  readonly bodyBytesPerSecond?: number
}

/** Who watches a body arrive. */
export interface BodyWatch {
  /** Its part of the memory that all bodies share. */
  readonly room?: BodyRoom
  /** The rate that it counts in. */
  readonly work?: Work
  /** Looks at its JSON as it comes. */
  readonly shape?: ShapeCounter
  /** Aborted when the server stops: a request whose body is still on its way has not begun, and is refused. */
  readonly drain?: AbortSignal | undefined
}

const firstBytes = 16 << 10
const paceSeconds = 5

/** The parsed JSON. Throws an ApiError: 400, 408, 413, 415, 429, 503. */
export async function readJson(request: Request, limits: BodyLimits, watch: BodyWatch = {}): Promise<unknown> {
  const type = request.headers.get('content-type') ?? ''
  if (!/^application\/([a-z.-]+\+)?json\s*(;|$)/i.test(type))
    throw new ApiError(415, 'the content-type must be application/json', { code: 'unsupported_media_type' })
  const bytes = await readBytes(request, limits, watch)
  try {
    return parseJson(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    const what = cause instanceof SyntaxError ? 'JSON' : 'UTF-8'
    throw new ApiError(400, `the body is not valid ${what}`, { code: 'invalid_json', cause })
  }
}

/** The body, whole. Throws an ApiError: 400, 408, 413, and what `watch` throws. */
export async function readBytes(
  request: Request,
  limits: BodyLimits,
  watch: BodyWatch = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const { bodyBytes } = limits
  const told = lengthOf(request)
  if (told > bodyBytes) throw tooLarge(bodyBytes)
  if (!request.body) return new Uint8Array()
  const encoding = encodingOf(request)
  if (encoding === 'identity') return new Arrival(limits, watch, told).read(piecesOf(request.body))
  // Content-length says nothing of what comes out.
  return new Arrival(limits, watch, 0).read(piecesOf(decoded(request.body, encoding, bodyBytes)))
}

/** One body on its way. */
class Arrival {
  readonly #limits: BodyLimits
  readonly #watch: BodyWatch
  readonly #begun = performance.now()
  #bytes: Uint8Array<ArrayBuffer>
  #length = 0
  /** Why it is read no further. */
  #fault: unknown
  #timer: ReturnType<typeof setTimeout> | undefined

  /** `told`: what content-length says; 0 where it says nothing. */
  constructor(limits: BodyLimits, watch: BodyWatch, told: number) {
    this.#limits = limits
    this.#watch = watch
    const size = Math.min(firstBytes, told > 0 ? told : limits.bodyBytes)
    this.#expect(told > 0 ? told : size)
    // All that is told is counted from now on; but memory is taken as it comes, and most of what is refused is refused early.
    this.#bytes = new Uint8Array(size)
  }

  async read(reader: Pieces): Promise<Uint8Array<ArrayBuffer>> {
    const stop = (fault: unknown) => {
      this.#fault ??= fault
      // Ends a read that waits.
      void reader.cancel().catch(() => {})
    }
    const { room, drain } = this.#watch
    const onDrain = () => stop(stopping())
    if (room) room.onEvict = () => stop(tooSlow('this body came slowly, and others needed its room'))
    this.#watchPace(0, stop)
    drain?.addEventListener('abort', onDrain)
    if (drain?.aborted) onDrain()
    try {
      for (;;) {
        const piece = await reader.read()
        if (this.#fault) throw this.#fault
        if (!piece) break
        this.#take(piece)
      }
      room?.whole()
      return this.#bytes.subarray(0, this.#length)
    } catch (error) {
      // Whoever answers may drain the rest: a host that is left with an unread body closes the connection.
      if (!this.#fault) reader.releaseLock()
      if (error instanceof ApiError) throw error
      throw new ApiError(400, 'the body broke off', { code: 'incomplete_body', cause: error })
    } finally {
      clearTimeout(this.#timer)
      drain?.removeEventListener('abort', onDrain)
      if (room) room.onEvict = undefined
    }
  }

  #take(piece: Uint8Array): void {
    const length = this.#length + piece.length
    if (length > this.#limits.bodyBytes) throw tooLarge(this.#limits.bodyBytes)
    if (length > this.#bytes.length) {
      const size = Math.min(this.#limits.bodyBytes, Math.max(length, 2 * this.#bytes.length))
      this.#expect(size)
      const larger = new Uint8Array(size)
      larger.set(this.#bytes.subarray(0, this.#length))
      this.#bytes = larger
    }
    this.#bytes.set(piece, this.#length)
    this.#length = length
    this.#watch.room?.arrived(piece.length)
    this.#watch.shape?.count(this.#bytes, length)
  }

  /** Before the memory is taken. */
  #expect(bytes: number): void {
    this.#watch.work?.expect(bytes)
    this.#watch.room?.expect(bytes)
  }

  /** Looks again when the body must be there, or must have gone on. */
  #watchPace(before: number, stop: (fault: ApiError) => void): void {
    const { bodySeconds, bodyBytesPerSecond = 0 } = this.#limits
    const left = this.#begun + bodySeconds * 1000 - performance.now()
    const wait = bodyBytesPerSecond > 0 ? Math.min(left, paceSeconds * 1000) : left
    this.#timer = setTimeout(() => {
      if (wait === left) return stop(tooSlow(`the body did not arrive within ${bodySeconds} s`))
      if (this.#length - before < bodyBytesPerSecond * paceSeconds)
        return stop(tooSlow(`less than ${bodyBytesPerSecond} bytes of the body came in a second`))
      this.#watchPace(this.#length, stop)
    }, wait)
  }
}

interface Pieces {
  /** The next piece, which is the reader's until it is asked for another; undefined at the end. */
  read(): Promise<Uint8Array | undefined>
  cancel(): Promise<void>
  releaseLock(): void
}

const lentBytes = 64 << 10

/** A stream's pieces; where it can fill a buffer it is lent the same again and again, so that small pieces leave nothing behind. */
export function piecesOf(body: ReadableStream<Uint8Array>): Pieces {
  let reader: ReadableStreamBYOBReader
  try {
    reader = body.getReader({ mode: 'byob' })
  } catch {
    const plain = body.getReader()
    return {
      read: async () => (await plain.read()).value,
      cancel: () => plain.cancel(),
      releaseLock: () => plain.releaseLock(),
    }
  }
  let buffer = new ArrayBuffer(lentBytes)
  return {
    async read() {
      const { done, value } = await reader.read(new Uint8Array(buffer))
      if (done || !value) return undefined
      buffer = value.buffer
      return value
    },
    cancel: () => reader.cancel(),
    releaseLock: () => reader.releaseLock(),
  }
}

/** What content-length says; 0 for what is no length. */
function lengthOf(request: Request): number {
  const told = Number(request.headers.get('content-length') ?? 0)
  return Number.isSafeInteger(told) && told > 0 ? told : 0
}

function tooSlow(message: string): ApiError {
  return new ApiError(408, message, { code: 'timeout' })
}
