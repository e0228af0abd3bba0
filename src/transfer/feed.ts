/**
 * Reads the body of a companion's answer at the network's pace into a bounded queue, whether or not
 * anybody consumes it. So a client that pauses does not make the network look slow, and holds no
 * turn at the companion. While the queue is full, nothing is read and no clock runs.
 */
import type { Lifetime } from '../base/lifetime.ts'
import { after } from '../base/timeout.ts'

/** Maximum number of bytes in the queue: about 2,500 tokens of a relayed answer. */
const mostBytes = 1 << 18
/** Maximum number of pieces, because a piece costs more than its bytes. */
const mostPieces = 1024

export interface FeedOptions {
  /** Milliseconds that the network may bring nothing while it is read. */
  readonly stallMs: number
  readonly onStall: () => void
  /** Turns a failure of the body, or the end of its lifetime, into the error that is thrown. */
  readonly explain: (error: unknown) => unknown
  /**
   * Called with the milliseconds for which the queue was full and the network waited for this
   * reader.
   */
  readonly onHeld?: ((ms: number) => void) | undefined
}

/** The bytes that have arrived, and the milliseconds from the first piece to the last. */
export interface Arrived {
  readonly bytes: number
  readonly ms: number
}

export class Feed implements AsyncIterableIterator<Uint8Array, undefined> {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>
  readonly #life: Lifetime
  readonly #options: FeedOptions
  readonly #pieces: Uint8Array[] = []
  #queued = 0
  #bytes = 0
  /** When the first and the last piece arrived. */
  #first = 0
  #last = 0
  /** Milliseconds that the consumer waited, from the first piece on. */
  #waitedMs = 0
  /** Set once nothing more is read. */
  #end: { readonly error?: unknown } | undefined
  /** Wakes the one waiter for a change of the queue: the pump or the consumer. */
  #wake = () => {}

  /** Reads until the body or `life` ends, and ends `life` with the body. */
  constructor(body: ReadableStream<Uint8Array>, life: Lifetime, options: FeedOptions) {
    this.#reader = body.getReader()
    this.#life = life
    this.#options = options
    life.hold(() => {
      this.#finish({ error: options.explain(life.signal.reason) })
      // Cancelling may hang, so nobody waits for it.
      void this.#reader.cancel().catch(() => {})
    })
    void this.#pump()
  }

  /**
   * What has arrived; undefined if the consumer mostly did not wait, since the rate says little
   * about the network then.
   */
  get arrived(): Arrived | undefined {
    const ms = this.#last - this.#first
    return 2 * this.#waitedMs >= ms ? { bytes: this.#bytes, ms } : undefined
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    for (;;) {
      const piece = this.#pieces.shift()
      if (piece) {
        this.#queued -= piece.length
        this.#wake()
        return { done: false, value: piece }
      }
      if (this.#end) {
        if ('error' in this.#end) throw this.#end.error
        return { done: true, value: undefined }
      }
      const begun = performance.now()
      await this.#change()
      if (this.#first > 0) this.#waitedMs += performance.now() - Math.max(begun, this.#first)
    }
  }

  /** Lets the body go. */
  async return(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.#pieces.length = 0
    void this.#life.end()
    return { done: true, value: undefined }
  }

  async #pump(): Promise<void> {
    try {
      while (!this.#end) {
        if (this.#queued >= mostBytes || this.#pieces.length >= mostPieces) {
          const begun = performance.now()
          await this.#change()
          this.#options.onHeld?.(performance.now() - begun)
          continue
        }
        const piece = await this.#read()
        if (this.#end) return
        if (!piece) this.#finish({})
        else this.#put(piece)
      }
    } catch (error) {
      this.#finish({ error: this.#options.explain(error) })
    } finally {
      void this.#life.end()
    }
  }

  #put(piece: Uint8Array): void {
    this.#pieces.push(piece)
    this.#queued += piece.length
    this.#bytes += piece.length
    this.#last = performance.now()
    this.#first ||= this.#last
    this.#wake()
  }

  /** Returns the next piece that is not empty; undefined at the end. */
  async #read(): Promise<Uint8Array | undefined> {
    const stop = this.#life.hold(after(this.#options.stallMs, this.#options.onStall))
    try {
      for (;;) {
        const { done, value } = await this.#reader.read()
        if (done) return undefined
        if (value.length > 0) return value
      }
    } finally {
      stop()
    }
  }

  #finish(end: { readonly error?: unknown }): void {
    this.#end ??= end
    this.#wake()
  }

  /** Resolves when a piece is added or consumed, or at the end. */
  #change(): Promise<void> {
    return new Promise((resolve) => {
      const others = this.#wake
      this.#wake = () => {
        this.#wake = () => {}
        others()
        resolve()
      }
    })
  }
}
