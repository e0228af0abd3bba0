/** Sends model files to pages: a limited number at once, each no faster than its client reads. */
import type { ByteSource } from '../../src/index.ts'
import type { Limits } from '../config.ts'
import { ApiError } from '../errors.ts'
import { pacedBody } from '../paced.ts'

/** Size of one read, in bytes. A client that does not read holds a few of them. */
const chunkBytes = 256 << 10

export class Downloads {
  readonly #limit: number
  readonly #stallMs: number
  #running = 0

  constructor({ downloads, stallSeconds }: Limits) {
    this.#limit = downloads
    this.#stallMs = stallSeconds * 1000
  }

  /** Downloads in progress. */
  get running(): number {
    return this.#running
  }

  /**
   * Returns a stream of the bytes `from`..`end` - 1 of `source`. Throws an ApiError of 503 at the
   * limit.
   */
  body(source: ByteSource, from: number, end: number): ReadableStream<Uint8Array> {
    if (this.#running >= this.#limit)
      throw new ApiError(503, `${this.#running} model files are being sent, the most at once; try again`, {
        code: 'busy',
        retryAfter: 1,
      })
    this.#running++
    let at = from
    return pacedBody(
      async () => {
        if (at === end) return undefined
        const chunk = new Uint8Array(Math.min(chunkBytes, end - at))
        await source.read(at, chunk)
        at += chunk.length
        return chunk
      },
      { stallMs: this.#stallMs, end: () => this.#running-- },
    )
  }
}
