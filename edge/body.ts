/**
 * Reads a request's body under limits. Its bytes are counted as they arrive, whatever
 * content-length says, into one growing buffer. Reading stops at the first fault; the host drains
 * the rest.
 */
import { after, isWhole, parseJson } from '../src/index.ts'
import { ApiError, stopping } from './errors.ts'
import type { BodyRoom } from './guard/bodies.ts'
import type { Work } from './guard/refused.ts'
import type { ShapeCounter } from './guard/shape.ts'
import { decoded, encodingOf, tooLarge } from './inflate.ts'

export interface BodyLimits {
  /** Maximum size of a body, in bytes. */
  readonly bodyBytes: number
  /** Maximum time for a body to arrive, in seconds. */
  readonly bodySeconds: number
  /** Minimum rate of a body, in bytes per second over 5 seconds. Default 0. */
  readonly bodyBytesPerSecond?: number
}

/** What observes a body while it arrives. */
export interface BodyWatch {
  /** The body's share of the memory for all bodies. */
  readonly room?: BodyRoom
  /** The rate that the body's bytes count towards. */
  readonly work?: Work
  /** Checks the shape of the JSON as it arrives. */
  readonly shape?: ShapeCounter
  /**
   * Aborted when the server stops. A request whose body is still arriving has not begun, and is
   * refused.
   */
  readonly drain?: AbortSignal | undefined
  /**
   * Whether a body of any content type is read, unless a page sent it: pages of other sites may
   * send some types without asking. Default false.
   */
  readonly anyType?: boolean
}

const firstBytes = 16 << 10
const paceSeconds = 5

/** Reads and parses a JSON body. Throws an ApiError: 400, 408, 413, 415, 429, 503. */
export async function readJson(request: Request, limits: BodyLimits, watch: BodyWatch = {}): Promise<unknown> {
  const type = request.headers.get('content-type') ?? ''
  const ownType = watch.anyType && !request.headers.has('origin')
  if (!ownType && !/^application\/([a-z.-]+\+)?json\s*(;|$)/i.test(type))
    throw new ApiError(415, 'the content-type must be application/json', { code: 'unsupported_media_type' })
  const bytes = await readBytes(request, limits, watch)
  try {
    return parseJson(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    const what = cause instanceof SyntaxError ? 'JSON' : 'UTF-8'
    throw new ApiError(400, `the body is not valid ${what}`, { code: 'invalid_json', cause })
  }
}

/** Reads a whole body. Throws an ApiError: 400, 408, 413, and whatever `watch` throws. */
export async function readBytes(
  request: Request,
  limits: BodyLimits,
  watch: BodyWatch = {},
): Promise<Uint8Array<ArrayBuffer>> {
  const { bodyBytes } = limits
  const announced = lengthOf(request)
  if (announced > bodyBytes) throw tooLarge(bodyBytes)
  if (!request.body) return new Uint8Array()
  const encoding = encodingOf(request)
  if (encoding === 'identity') return new Arrival(limits, watch, announced).read(piecesOf(request.body))
  // Content-length is the compressed size and says nothing about the decoded one.
  return new Arrival(limits, watch, 0).read(piecesOf(decoded(request.body, encoding, bodyBytes)))
}

/** A body that is arriving. */
class Arrival {
  readonly #limits: BodyLimits
  readonly #watch: BodyWatch
  readonly #begun = performance.now()
  #bytes: Uint8Array<ArrayBuffer>
  #length = 0
  /** Why reading stopped. */
  #fault: unknown
  #stopTimer = () => {}

  /** `announced` is the content-length in bytes, 0 if unknown. */
  constructor(limits: BodyLimits, watch: BodyWatch, announced: number) {
    this.#limits = limits
    this.#watch = watch
    const size = Math.min(firstBytes, announced > 0 ? announced : limits.bodyBytes)
    this.#expect(announced > 0 ? announced : size)
    // The whole announced length is reserved now, but memory is allocated as bytes arrive: most
    // refused bodies are refused early.
    this.#bytes = new Uint8Array(size)
  }

  async read(reader: Pieces): Promise<Uint8Array<ArrayBuffer>> {
    const stop = (fault: unknown) => {
      this.#fault ??= fault
      // Ends a pending read.
      void reader.cancel().catch(() => {})
    }
    const { room, drain } = this.#watch
    const onDrain = () => stop(stopping())
    if (room) room.onEvict = () => stop(tooSlow('the body arrived slowly, and other requests needed its memory'))
    this.#watchPace(0, stop)
    drain?.addEventListener('abort', onDrain)
    if (drain?.aborted) onDrain()
    try {
      for (;;) {
        const piece = await reader.read()
        if (this.#fault) throw this.#fault
        if (!piece) break
        this.#append(piece)
      }
      room?.whole()
      return this.#bytes.subarray(0, this.#length)
    } catch (error) {
      // The caller may drain the rest: a host that finds the body unread closes the connection.
      if (!this.#fault) reader.releaseLock()
      if (error instanceof ApiError) throw error
      throw new ApiError(400, 'the body ended early', { code: 'incomplete_body', cause: error })
    } finally {
      this.#stopTimer()
      drain?.removeEventListener('abort', onDrain)
      if (room) room.onEvict = undefined
    }
  }

  #append(piece: Uint8Array): void {
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

  /** Reserves `bytes` before they are allocated. */
  #expect(bytes: number): void {
    this.#watch.work?.expect(bytes)
    this.#watch.room?.expect(bytes)
  }

  /** Checks the rate again after the interval, and the deadline. */
  #watchPace(before: number, stop: (fault: ApiError) => void): void {
    const { bodySeconds, bodyBytesPerSecond = 0 } = this.#limits
    const left = this.#begun + bodySeconds * 1000 - performance.now()
    const wait = bodyBytesPerSecond > 0 ? Math.min(left, paceSeconds * 1000) : left
    this.#stopTimer = after(wait, () => {
      if (wait === left) return stop(tooSlow(`the body did not arrive within ${bodySeconds} s`))
      if (this.#length - before < bodyBytesPerSecond * paceSeconds)
        return stop(tooSlow(`the body arrived at less than ${bodyBytesPerSecond} bytes per second`))
      this.#watchPace(this.#length, stop)
    })
  }
}

interface Pieces {
  /** Returns the next piece, valid only until the next call; undefined at the end. */
  read(): Promise<Uint8Array | undefined>
  cancel(): Promise<void>
  releaseLock(): void
}

const lentBytes = 64 << 10

/**
 * Returns a reader of a stream's pieces. A byte stream fills the same buffer again and again, so
 * that many small pieces cause no garbage.
 */
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

/** Returns the content-length in bytes; 0 if it is absent or invalid. */
function lengthOf(request: Request): number {
  const length = Number(request.headers.get('content-length') ?? 0)
  return isWhole(length, 1) ? length : 0
}

function tooSlow(message: string): ApiError {
  return new ApiError(408, message, { code: 'timeout' })
}
