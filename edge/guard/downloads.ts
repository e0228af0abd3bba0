/** Model files on their way to pages: so many at once, each read as fast as its client reads. */
import type { ByteSource } from '../../src/index.ts'
import type { Limits } from '../config.ts'
import { ApiError } from '../errors.ts'
import { pacedBody } from '../paced.ts'

/** Read and held for each download; a client that does not read holds a few of them. */
const pieceBytes = 256 << 10

export class Downloads {
  readonly #most: number
  readonly #stallMs: number
  #running = 0

  constructor({ downloads, stallSeconds }: Limits) {
    this.#most = downloads
    this.#stallMs = stallSeconds * 1000
  }

  get running(): number {
    return this.#running
  }

  /** The bytes of `source` in `[from, end)`. Throws an ApiError of 503 where too many are being sent. */
  body(source: ByteSource, from: number, end: number): ReadableStream<Uint8Array> {
    if (this.#running >= this.#most)
      throw new ApiError(503, `${this.#running} model files are being sent, the most at once; try again`, {
        code: 'busy',
        retryAfter: 1,
      })
    this.#running++
    let at = from
    return pacedBody(
      async () => {
        if (at === end) return undefined
        const piece = new Uint8Array(Math.min(pieceBytes, end - at))
        await source.read(at, piece)
        at += piece.length
        return piece
      },
      { stallMs: this.#stallMs, end: () => this.#running-- },
    )
  }
}
