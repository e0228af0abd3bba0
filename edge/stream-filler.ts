/** Takes a stream's bytes in runs of the length one asks for, read straight into one buffer where the stream can do that. */
import { ForetokenError } from '../src/index.ts'

/** Cloudflare's streams wait until `least` bytes are there, instead of giving 4 KiB at a time. */
interface PatientReader extends ReadableStreamBYOBReader {
  readAtLeast?(least: number, view: Uint8Array): Promise<ReadableStreamReadResult<Uint8Array<ArrayBuffer>>>
}

export class StreamFiller {
  readonly #own: PatientReader | undefined
  readonly #plain: ReadableStreamDefaultReader<Uint8Array> | undefined
  #rest: Uint8Array = new Uint8Array(0)

  constructor(stream: ReadableStream<Uint8Array>) {
    try {
      this.#own = stream.getReader({ mode: 'byob' })
    } catch {
      this.#plain = stream.getReader()
    }
  }

  /**
   * The next `bytes` bytes, in `buffer`, which is the stream's from now on and may come back as another object. Throws `io` for a stream
   * that breaks or ends before.
   */
  async fill(bytes: number, buffer = new ArrayBuffer(bytes)): Promise<Uint8Array<ArrayBuffer>> {
    try {
      return await (this.#own ? fillOwn(this.#own, bytes, buffer) : this.#fillCopied(this.#plain!, bytes, buffer))
    } catch (cause) {
      if (cause instanceof ForetokenError) throw cause
      throw new ForetokenError('io', `reading weights broke off: ${(cause as Error)?.message ?? cause}`, { cause })
    }
  }

  async cancel(): Promise<void> {
    // A stream that is broken or at its end has nothing to cancel.
    await (this.#own ?? this.#plain)?.cancel().catch(() => {})
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

/** A read takes the buffer away and gives it back with more in it. */
async function fillOwn(reader: PatientReader, bytes: number, given: ArrayBuffer): Promise<Uint8Array<ArrayBuffer>> {
  let buffer = given
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
  return new ForetokenError('io', `a stream of weights ended after ${at} of the ${bytes} bytes that were due`)
}
