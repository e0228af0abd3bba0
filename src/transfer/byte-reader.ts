/**
 * Reads exact amounts of bytes from a stream that is cut anywhere. Never buffers more than one
 * piece of it.
 */
import { cancelled } from '../base/cancelled.ts'
import { ForetokenError } from '../base/errors.ts'

export class ByteReader {
  readonly #source: AsyncIterator<Uint8Array>
  readonly #signal: AbortSignal | undefined
  #piece: Uint8Array = new Uint8Array(0)
  #at = 0
  #ended = false
  /** Number of bytes read so far. */
  bytesRead = 0

  constructor(source: AsyncIterable<Uint8Array>, signal?: AbortSignal) {
    this.#source = source[Symbol.asyncIterator]()
    this.#signal = signal
  }

  /**
   * Fills `into` with the next bytes. Throws `bad_kv` if the stream ends first, `aborted`, and what
   * the stream throws.
   */
  async fill(into: Uint8Array, what: string): Promise<void> {
    for (let have = 0; have < into.length; ) {
      if (this.#at === this.#piece.length && !(await this.#next()))
        throw new ForetokenError(
          'bad_kv',
          `the stream ends after ${this.bytesRead} bytes, in the middle of ${what}; request it again`,
        )
      const part = this.#piece.subarray(this.#at, this.#at + into.length - have)
      into.set(part, have)
      have += part.length
      this.#at += part.length
      this.bytesRead += part.length
    }
  }

  /** Throws `bad_kv` unless the stream ends here. */
  async end(): Promise<void> {
    if (this.#at < this.#piece.length || (await this.#next()))
      throw new ForetokenError(
        'bad_kv',
        `bytes follow the end of the stream, after ${this.bytesRead}; request it again`,
      )
  }

  /** Closes the stream, ended or not. Does not wait for it, because it may hang. */
  close(): void {
    if (this.#ended) return
    this.#ended = true
    Promise.resolve(this.#source.return?.()).catch(() => {})
  }

  /** Loads the next piece that is not empty. Returns false at the end. */
  async #next(): Promise<boolean> {
    while (!this.#ended) {
      const { done, value } = await this.#orAborted(this.#source.next())
      if (done) this.#ended = true
      else if (!(value instanceof Uint8Array))
        throw new ForetokenError('bad_kv', `the stream yields ${typeof value}, not bytes`)
      else if (value.length > 0) {
        this.#piece = value
        this.#at = 0
        return true
      }
    }
    return false
  }

  async #orAborted<T>(read: Promise<T>): Promise<T> {
    const signal = this.#signal
    if (!signal) return read
    let stop = () => {}
    const aborted = new Promise<never>((_, reject) => {
      stop = () => reject(cancelled(signal.reason))
      if (signal.aborted) stop()
      else signal.addEventListener('abort', stop, { once: true })
    })
    try {
      return await Promise.race([read, aborted])
    } finally {
      signal.removeEventListener('abort', stop)
      // If the signal won the race, nobody handles a later rejection of the stream.
      read.catch(() => {})
    }
  }
}
