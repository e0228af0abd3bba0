/** Text that a user gives, by file or by pipe: UTF-8, or UTF-16 with a byte order mark. */
import { createReadStream } from 'node:fs'
import { ForetokenError, fileError } from '../node/index.ts'

/** Longest text, in bytes. No context holds as much. */
const maxBytes = 64 * 2 ** 20

/**
 * A text file, or stdin for `-`, whole, without its last end of line: prompts come out the same however they come in. Throws `not_found`, `io`,
 * and `bad_argument` for what is not text.
 */
export async function readPrompt(path: string): Promise<string> {
  return (await readText(path)).replace(/\r?\n$/, '')
}

/** A text file, or stdin for `-`, whole. Throws as `readPrompt` does. */
export async function readText(path: string): Promise<string> {
  const where = path === '-' ? 'stdin' : path
  const chunks: Uint8Array[] = []
  let bytes = 0
  try {
    for await (const chunk of path === '-' ? process.stdin : createReadStream(path)) {
      chunks.push(chunk)
      bytes += chunk.length
      if (bytes > maxBytes)
        throw new ForetokenError('bad_argument', `${where} has more than the ${maxBytes} bytes that a text may have`)
    }
  } catch (error) {
    throw fileError(error, where)
  }
  return decodeText(Buffer.concat(chunks), where)
}

/** Bytes as text, by their byte order mark, which is dropped. Throws `bad_argument`. */
export function decodeText(bytes: Uint8Array, where: string): string {
  const decoder = new TextDecoder(encodingOf(bytes, where), { fatal: true })
  try {
    return checked(decoder.decode(bytes), where)
  } catch (error) {
    throw notText(error, where)
  }
}

/** The same for a stream, piece by piece. */
export async function* decodePieces(stream: AsyncIterable<Uint8Array>, where: string): AsyncGenerator<string> {
  let decoder: TextDecoder | undefined
  let held: Uint8Array = new Uint8Array(0)
  try {
    for await (const chunk of stream) {
      held = decoder ? chunk : Buffer.concat([held, chunk])
      // A mark has at most three bytes, of which this may be the first.
      if (!decoder && held.length < 3 && !held.includes(10)) continue
      decoder ??= new TextDecoder(encodingOf(held, where), { fatal: true })
      yield checked(decoder.decode(held, { stream: true }), where)
      held = new Uint8Array(0)
    }
    decoder ??= new TextDecoder(encodingOf(held, where), { fatal: true })
    yield checked(decoder.decode(held), where)
  } catch (error) {
    throw notText(error, where)
  }
}

function encodingOf([a, b, c, d]: Uint8Array, where: string): string {
  // UTF-32 begins as UTF-16 does.
  if ((a === 0xff && b === 0xfe && c === 0 && d === 0) || (a === 0 && b === 0 && c === 0xfe && d === 0xff))
    throw new ForetokenError('bad_argument', `${where} is UTF-32; convert it to UTF-8 first: iconv -f UTF-32 -t UTF-8`)
  if (a === 0xff && b === 0xfe) return 'utf-16le'
  return a === 0xfe && b === 0xff ? 'utf-16be' : 'utf-8'
}

/** No prompt holds NUL; UTF-16 without a mark is full of them. */
function checked(text: string, where: string): string {
  if (!text.includes('\0')) return text
  throw new ForetokenError(
    'bad_argument',
    `${where} holds NUL characters: it is UTF-16 without a byte order mark, or no text; convert it to UTF-8 first`,
  )
}

function notText(error: unknown, where: string): ForetokenError {
  if (error instanceof TypeError)
    return new ForetokenError('bad_argument', `${where} is not UTF-8 text; convert it first`, { cause: error })
  return fileError(error, where)
}
