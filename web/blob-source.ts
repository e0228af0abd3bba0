/** Files and blobs of the browser as sources of weights. */
import { ForetokenError } from '../src/base/errors.ts'
import type { ByteSource } from '../src/index.ts'

/** Bytes per read: each read takes a browser milliseconds, however small it is. */
const aheadBytes = 8 << 20

/**
 * Returns a source over a file or blob. Weights are read from the front, so the next stretch is
 * read ahead while one is in use.
 */
export function blobSource(name: string, blob: Blob): ByteSource {
  const stretches = new Map<number, Promise<Uint8Array>>()
  const stretch = (index: number): Promise<Uint8Array> => {
    const known = stretches.get(index)
    if (known) return known
    const from = index * aheadBytes
    const bytes = blob.slice(from, from + aheadBytes).arrayBuffer()
    const reading = bytes.then((buffer) => new Uint8Array(buffer))
    // A caller that awaits it sees the failure; a stretch read ahead may have none.
    reading.catch(() => {})
    stretches.set(index, reading)
    return reading
  }
  return {
    name,
    size: blob.size,
    async read(offset, into) {
      if (offset + into.length > blob.size)
        throw new ForetokenError(
          'io',
          `${name}: bytes ${offset}..${offset + into.length} of ${blob.size} were asked for`,
        )
      for (let done = 0; done < into.length; ) {
        const index = Math.floor((offset + done) / aheadBytes)
        const bytes = await stretch(index).catch((cause) => {
          throw new ForetokenError('io', `${name} can't be read (${cause.message}); load the model again`, { cause })
        })
        for (const old of stretches.keys()) if (old !== index && old !== index + 1) stretches.delete(old)
        if ((index + 1) * aheadBytes < blob.size) stretch(index + 1)
        const from = offset + done - index * aheadBytes
        const part = bytes.subarray(from, from + into.length - done)
        into.set(part, done)
        done += part.length
      }
    },
  }
}
