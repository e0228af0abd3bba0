/**
 * Reads a stream in chunks of a requested length, straight into one buffer if the stream supports
 * that.
 */
import { ForetokenError } from '../src/index.ts'

/** On Cloudflare, `readAtLeast` waits for `least` bytes; plain reads return 4 KiB at a time. */
interface PatientReader extends ReadableStreamBYOBReader {
  readAtLeast?(least: number, view: Uint8Array): Promise<ReadableStreamReadResult<Uint8Array<ArrayBuffer>>>
}

export class StreamFiller {
  readonly #byob: PatientReader | undefined
  readonly #plain: ReadableStreamDefaultReader<Uint8Array> | undefined
  #rest: Uint8Array = new Uint8Array(0)

  constructor(stream: ReadableStream<Uint8Array>) {
    try {
      this.#byob = stream.getReader({ mode: 'byob' })
    } catch {
      this.#plain = stream.getReader()
    }
  }

  /**
   * Reads the next `bytes` bytes into `buffer`, which belongs to the stream from then on and may
   * come back as another object. Rejects with `io` if the stream fails or ends early.
   */
  async fill(bytes: number, buffer = new ArrayBuffer(bytes)): Promise<Uint8Array<ArrayBuffer>> {
    try {
      return await (this.#byob ? fillInPlace(this.#byob, bytes, buffer) : this.#fillCopied(this.#plain!, bytes, buffer))
    } catch (cause) {
      if (cause instanceof ForetokenError) throw cause
      throw new ForetokenError('io', `reading the weights failed: ${(cause as Error)?.message ?? cause}`, { cause })
    }
  }

  async cancel(): Promise<void> {
    // Cancelling a stream that has failed or ended may reject; there is nothing left to cancel.
    await (this.#byob ?? this.#plain)?.cancel().catch(() => {})
  }

  async #fillCopied(
    reader: ReadableStreamDefaultReader<Uint8Array>,
    bytes: number,
    buffer: ArrayBuffer,
  ): Promise<Uint8Array<ArrayBuffer>> {
    const all = new Uint8Array(buffer, 0, bytes)
    let at = 0
    while (at < bytes) {
      if (this.#rest.length === 0) {
        const { value, done } = await reader.read()
        if (done) throw ended(at, bytes)
        this.#rest = value
      }
      const piece = this.#rest.subarray(0, bytes - at)
      all.set(piece, at)
      at += piece.length
      this.#rest = this.#rest.subarray(piece.length)
    }
    return all
  }
}

/** Fills a buffer. Each read detaches it and returns it with more bytes in it. */
async function fillInPlace(
  reader: PatientReader,
  bytes: number,
  target: ArrayBuffer,
): Promise<Uint8Array<ArrayBuffer>> {
  let buffer = target
  for (let at = 0; at < bytes; ) {
    const view = new Uint8Array(buffer, at, bytes - at)
    const { value } = await (reader.readAtLeast ? reader.readAtLeast(view.length, view) : reader.read(view))
    if (!value || value.length === 0) throw ended(at, bytes)
    buffer = value.buffer
    at += value.length
  }
  return new Uint8Array(buffer, 0, bytes)
}

function ended(at: number, bytes: number): ForetokenError {
  return new ForetokenError('io', `the stream of weights ended after ${at} of the ${bytes} bytes expected`)
}
