/** Bytes in the amounts that are asked for, out of a stream that is cut anywhere; never more of it is held than one piece. */
import { ForetokenError } from '../base/errors.ts'

export class Pull {
  readonly #source: AsyncIterator<Uint8Array>
  readonly #signal: AbortSignal | undefined
  #piece: Uint8Array = new Uint8Array(0)
  #at = 0
  #ended = false
  /** Bytes taken so far. */
  taken = 0

  constructor(source: AsyncIterable<Uint8Array>, signal?: AbortSignal) {
    this.#source = source[Symbol.asyncIterator]()
    this.#signal = signal
  }

  /** Fills `into` with the next bytes. Throws `bad_kv` if the stream ends before, `aborted`, and what the stream throws. */
  async fill(into: Uint8Array, what: string): Promise<void> {
    for (let have = 0; have < into.length; ) {
      if (this.#at === this.#piece.length && !(await this.#next()))
        throw new ForetokenError(
          'bad_kv',
          `the stream ends after ${this.taken} bytes, in the middle of ${what}; ask for it again`,
        )
      const some = this.#piece.subarray(this.#at, this.#at + into.length - have)
      into.set(some, have)
      have += some.length
      this.#at += some.length
      this.taken += some.length
    }
  }

  /** Throws `bad_kv` if anything but the end comes now. */
  async end(): Promise<void> {
    if (this.#at < this.#piece.length || (await this.#next()))
      throw new ForetokenError('bad_kv', `bytes follow the end of the stream, after ${this.taken}; ask for it again`)
  }

  /** Lets the stream go, whether it has ended or not. Does not wait for it: it may hang. */
  close(): void {
    if (this.#ended) return
    this.#ended = true
    Promise.resolve(this.#source.return?.()).catch(() => {})
  }

  /** The next piece that is not empty; false at the end. */
  async #next(): Promise<boolean> {
    while (!this.#ended) {
      const { done, value } = await this.#orAborted(this.#source.next())
      if (done) this.#ended = true
      else if (!(value instanceof Uint8Array))
        throw new ForetokenError('bad_kv', `the stream gives ${typeof value}, not bytes`)
      else if (value.length > 0) {
        this.#piece = value
        this.#at = 0
        return true
      }
    }
    return false
  }

  async #orAborted<T>(wanted: Promise<T>): Promise<T> {
    const signal = this.#signal
    if (!signal) return wanted
    let stop = () => {}
    const aborted = new Promise<never>((_, reject) => {
      stop = () => reject(new ForetokenError('aborted', 'the request was cancelled', { cause: signal.reason }))
      if (signal.aborted) stop()
      else signal.addEventListener('abort', stop, { once: true })
    })
    try {
      return await Promise.race([wanted, aborted])
    } finally {
      signal.removeEventListener('abort', stop)
      // When the signal won, what the stream still rejects with is nobody's.
      wanted.catch(() => {})
    }
  }
}
