/** Reads a body that may come in very many small chunks. */
import type { IncomingMessage } from 'node:http'

/** Chunks smaller than this, in bytes, are combined. */
const smallBytes = 1024
/** Number of small chunks of a body that cause no wait. The sender waits for each further one. */
const freeChunks = 4096
const waitPerChunkMs = 0.1
const longestWaitMs = 1000

/**
 * Combines small chunks of a body between the parser, which passes them on as they arrive, and the
 * body's reader.
 */
export class IncomingBody {
  readonly #incoming: IncomingMessage
  readonly #push: IncomingMessage['push']
  /** Combined small chunks, of which the first `#length` bytes are used. */
  #held: Buffer | undefined
  #length = 0
  /** Number of small chunks so far; `#burst` counts those since the last flush. */
  #chunks = 0
  #burst = 0
  #scheduled = false
  #discarded: (() => void) | undefined

  constructor(incoming: IncomingMessage) {
    this.#incoming = incoming
    this.#push = incoming.push.bind(incoming)
    incoming.push = (chunk: Buffer | null) => this.#accept(chunk)
  }

  /** True while more of the body may come. */
  get open(): boolean {
    return !this.#incoming.complete && !this.#incoming.socket.destroyed
  }

  /** Continues reading and drops the bytes. Calls `done` at the end of the body. */
  discard(done: () => void): void {
    this.#discarded = done
    this.#held = undefined
    this.#length = 0
    // Resumes the parser, which the reader may have paused.
    this.#incoming._read(0)
  }

  /** Accepts a chunk, or null at the end. Returns false to pause the parser. */
  #accept(chunk: Buffer | null): boolean {
    if (chunk === null || chunk.length >= smallBytes) {
      this.#flush()
      if (!this.#discarded) return this.#push(chunk)
      if (chunk === null) this.#discarded()
      return true
    }
    this.#chunks++
    this.#burst++
    if (!this.#discarded) this.#hold(chunk)
    if (!this.#scheduled) this.#schedule()
    return (
      this.#chunks <= freeChunks && this.#incoming.readableLength + this.#length < this.#incoming.readableHighWaterMark
    )
  }

  #hold(chunk: Buffer): void {
    if (!this.#held) this.#held = chunk
    else {
      const length = this.#length + chunk.length
      // The first chunk is the parser's buffer, which must not be written to.
      if (length > this.#held.length) {
        const larger = Buffer.allocUnsafe(Math.max(4096, 2 * length))
        larger.set(this.#held.subarray(0, this.#length))
        this.#held = larger
      }
      this.#held.set(chunk, this.#length)
    }
    this.#length += chunk.length
  }

  /**
   * Passes on together the chunks that were parsed together. A sender of very many small chunks
   * waits, and the parser with it.
   */
  #schedule(): void {
    this.#scheduled = true
    const flush = () => {
      this.#scheduled = false
      const wait = this.#chunks > freeChunks ? Math.min(longestWaitMs, this.#burst * waitPerChunkMs) : 0
      this.#burst = 0
      if (wait > 0) setTimeout(() => this.#flush(), wait)
      else this.#flush()
    }
    // The parser runs the tick queue after each chunk; only an immediate runs after all of them.
    setImmediate(flush)
  }

  #flush(): void {
    // A discarded body has no reader that would resume the parser.
    if (this.#discarded) this.#incoming._read(0)
    if (!this.#held || this.#length === 0) return
    const held = this.#held.subarray(0, this.#length)
    this.#held = undefined
    this.#length = 0
    this.#push(held)
  }
}
