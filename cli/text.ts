/** Reads texts from files and pipes: UTF-8, or UTF-16 with a byte order mark. */
import { createReadStream } from 'node:fs'
import { ForetokenError, fileError } from '../node/index.ts'

/** Maximum size of a text in bytes, more than fits any context. */
const maxBytes = 64 * 2 ** 20

/**
 * Reads a whole text file, or stdin for `-`, without the last line ending, so that a prompt is the
 * same from a file, a pipe and an argument. Throws `not_found`, `io`, and `bad_argument` if it is
 * not text.
 */
export async function readPrompt(path: string): Promise<string> {
  return (await readText(path)).replace(/\r?\n$/, '')
}

/** Reads a whole text file, or stdin for `-`. Throws the errors of `readPrompt`. */
export async function readText(path: string): Promise<string> {
  const where = path === '-' ? 'stdin' : path
  const chunks: Uint8Array[] = []
  let bytes = 0
  try {
    for await (const chunk of path === '-' ? process.stdin : createReadStream(path)) {
      chunks.push(chunk)
      bytes += chunk.length
      if (bytes > maxBytes)
        throw new ForetokenError('bad_argument', `${where} is larger than the limit of ${maxBytes} bytes`)
    }
  } catch (error) {
    throw fileError(error, where)
  }
  return decodeText(Buffer.concat(chunks), where)
}

/** Decodes bytes by their byte order mark, and removes it. Throws `bad_argument`. */
export function decodeText(bytes: Uint8Array, where: string): string {
  const decoder = new TextDecoder(encodingOf(bytes, where), { fatal: true })
  try {
    return checked(decoder.decode(bytes), where)
  } catch (error) {
    throw notText(error, where)
  }
}

/** Decodes a stream as `decodeText` does, and yields its text in parts. */
export async function* decodePieces(stream: AsyncIterable<Uint8Array>, where: string): AsyncGenerator<string> {
  let decoder: TextDecoder | undefined
  let held: Uint8Array = new Uint8Array(0)
  try {
    for await (const chunk of stream) {
      held = decoder ? chunk : Buffer.concat([held, chunk])
      // A byte order mark may take three bytes, so fewer are not enough to decide.
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
  // A UTF-32 mark begins like one of UTF-16.
  if ((a === 0xff && b === 0xfe && c === 0 && d === 0) || (a === 0 && b === 0 && c === 0xfe && d === 0xff))
    throw new ForetokenError('bad_argument', `${where} is UTF-32; convert it to UTF-8 first: iconv -f UTF-32 -t UTF-8`)
  if (a === 0xff && b === 0xfe) return 'utf-16le'
  return a === 0xfe && b === 0xff ? 'utf-16be' : 'utf-8'
}

/** Refuses text with NUL characters, which is usually UTF-16 without a byte order mark. */
function checked(text: string, where: string): string {
  if (!text.includes('\0')) return text
  throw new ForetokenError(
    'bad_argument',
    `${where} contains NUL characters: it is UTF-16 without a byte order mark, or not text; convert it to UTF-8 first`,
  )
}

function notText(error: unknown, where: string): ForetokenError {
  if (error instanceof TypeError)
    return new ForetokenError('bad_argument', `${where} is not UTF-8 text; convert it first`, { cause: error })
  return fileError(error, where)
}
