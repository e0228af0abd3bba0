/** A file that the browser has, as a source of weights. */
import { type ByteSource, ForetokenError } from '../src/index.ts'

/** Bytes that are read at once: a browser takes milliseconds for a reading, however little is asked for. */
const aheadBytes = 8 << 20

/** A file or blob of the browser. Weights are read from the front: the next stretch is asked for while one is used. */
export function blobSource(name: string, blob: Blob): ByteSource {
  const stretches = new Map<number, Promise<Uint8Array>>()
  const stretch = (index: number): Promise<Uint8Array> => {
    const known = stretches.get(index)
    if (known) return known
    const from = index * aheadBytes
    const bytes = blob.slice(from, from + aheadBytes).arrayBuffer()
    const made = bytes.then((buffer) => new Uint8Array(buffer))
    // Who waits for it is told; nobody may.
    made.catch(() => {})
    stretches.set(index, made)
    return made
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
        const some = bytes.subarray(from, from + into.length - done)
        into.set(some, done)
        done += some.length
      }
    },
  }
}
