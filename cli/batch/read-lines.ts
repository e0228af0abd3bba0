/** Reads the lines of a file of any size, as bytes. */
import { createReadStream } from 'node:fs'
import { ForetokenError, fileError } from '../../node/index.ts'

export interface InputLine {
  /** Line number, from 1; blank lines count. */
  readonly number: number
  /** The line without its terminator; undefined if it is longer than `maxLineBytes`. */
  readonly bytes: Uint8Array | undefined
  /** Byte offset at which the next line begins. */
  readonly end: number
  /** Whether the line has a terminator; the last line of a file being written may be incomplete. */
  readonly whole: boolean
}

/** Maximum length of a line, in bytes. */
export const maxLineBytes = 16 * 2 ** 20

/**
 * Yields lines in order; `-` is stdin. Splits only at \n, because JSON may contain other
 * separators. Throws `not_found`, `io`.
 */
export async function* readLines(path: string): AsyncGenerator<InputLine> {
  const stream = path === '-' ? process.stdin : createReadStream(path)
  let number = 0
  let end = 0
  let parts: Uint8Array[] = []
  let bytes = 0
  const finish = (whole: boolean): InputLine => {
    const line = bytes > maxLineBytes ? undefined : Buffer.concat(parts)
    parts = []
    bytes = 0
    return { number: ++number, bytes: line?.at(-1) === 13 ? line.subarray(0, -1) : line, end, whole }
  }
  const add = (part: Uint8Array) => {
    bytes += part.length
    end += part.length
    // Only the length of an oversized line is kept.
    if (bytes <= maxLineBytes) parts.push(part)
    else parts = []
  }
  try {
    for await (const chunk of withoutMark(stream as AsyncIterable<Uint8Array>, path, (mark) => (end += mark))) {
      let from = 0
      for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, from)) {
        add(chunk.subarray(from, at))
        end++
        yield finish(true)
        from = at + 1
      }
      if (from < chunk.length) add(chunk.subarray(from))
    }
  } catch (error) {
    throw fileError(error, path)
  } finally {
    if (path !== '-') stream.destroy()
  }
  if (bytes > 0) yield finish(false)
}

/**
 * Removes a UTF-8 byte order mark and reports its length. Throws `bad_argument` for UTF-16, which
 * has other line terminators.
 */
async function* withoutMark(
  stream: AsyncIterable<Uint8Array>,
  path: string,
  onMark: (bytes: number) => void,
): AsyncGenerator<Uint8Array> {
  let head: Uint8Array | undefined = new Uint8Array(0)
  for await (const chunk of stream) {
    if (head === undefined) {
      yield chunk
      continue
    }
    head = Buffer.concat([head, chunk])
    if (head.length < 3 && !head.includes(10)) continue
    yield markless(head)
    head = undefined
  }
  if (head !== undefined && head.length > 0) yield markless(head)

  function markless(bytes: Uint8Array): Uint8Array {
    const [a, b, c] = bytes
    if ((a === 0xff && b === 0xfe) || (a === 0xfe && b === 0xff))
      throw new ForetokenError(
        'bad_argument',
        `${path === '-' ? 'stdin' : path} is UTF-16; convert it to UTF-8 first: iconv -f UTF-16 -t UTF-8`,
      )
    if (a !== 0xef || b !== 0xbb || c !== 0xbf) return bytes
    onMark(3)
    return bytes.subarray(3)
  }
}
