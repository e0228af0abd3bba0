/** Splits a stream of bytes, cut anywhere, into lines of text. */
import { ForetokenError } from '../base/errors.ts'

/**
 * Maximum size of a line, in bytes: enough for a token with all log-probabilities that a request
 * may ask for.
 */
export const longestLine = 1 << 16

/**
 * Yields the lines of `pieces` without their line feeds, and never buffers more than one line.
 * Throws `remote` for a line of more than `longestLine` bytes, for one that is not UTF-8, and for a
 * stream that ends inside a line.
 */
export async function* readLines(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
  let held = new Uint8Array(256)
  let length = 0
  for await (const piece of pieces)
    for (let at = 0; at < piece.length; ) {
      const found = piece.indexOf(10, at)
      const to = found < 0 ? piece.length : found
      const wanted = length + to - at
      if (wanted > longestLine) throw bad(`has more than ${longestLine} bytes`)
      if (wanted > held.length) {
        const larger = new Uint8Array(Math.min(longestLine, Math.max(wanted, 2 * held.length)))
        larger.set(held.subarray(0, length))
        held = larger
      }
      held.set(piece.subarray(at, to), length)
      length = wanted
      at = to + 1
      if (found < 0) break
      yield textOf(decoder, held.subarray(0, length))
      length = 0
    }
  if (length > 0) throw bad('breaks off in its middle')
}

function textOf(decoder: TextDecoder, bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes)
  } catch (cause) {
    throw bad('is not UTF-8', cause)
  }
}

function bad(why: string, cause?: unknown): ForetokenError {
  return new ForetokenError('remote', `a line of the companion's answer ${why}; the prompt is read here`, { cause })
}
