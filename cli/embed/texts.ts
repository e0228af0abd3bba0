/** Reads the texts that `foretoken embed` is given: one text, or a file with one on each line. */
import { ForetokenError } from '../../node/index.ts'
import { maxLineBytes, readLines } from '../batch/read-lines.ts'
import { decodeText } from '../text.ts'

/** A text to embed, with what its answer repeats. */
export interface NumberedText {
  /** Number of its line, from 1. */
  readonly line: number
  readonly id?: string | number
  readonly text: string
}

/** A line that is not a text. */
export interface BadLine {
  readonly line: number
  readonly error: ForetokenError
}

/**
 * Yields the texts of a file, `-` is stdin: each line is a text or, with `json`, a JSON string or an
 * object with `text` and perhaps `id`. Blank lines are skipped. Throws `not_found`, `io`.
 */
export async function* textsOfFile(path: string, json: boolean): AsyncGenerator<NumberedText | BadLine> {
  for await (const { number: line, bytes } of readLines(path)) {
    try {
      if (!bytes) throw new ForetokenError('bad_argument', `line ${line} is longer than ${maxLineBytes} bytes`)
      const text = decodeText(bytes, `line ${line}`)
      if (text.trim() !== '') yield json ? fromJson(text, line) : { line, text }
    } catch (error) {
      if (!(error instanceof ForetokenError)) throw error
      yield { line, error }
    }
  }
}

function fromJson(row: string, line: number): NumberedText {
  let value: unknown
  try {
    value = JSON.parse(row)
  } catch {
    throw new ForetokenError('bad_argument', `line ${line} is not JSON`)
  }
  if (typeof value === 'string') return { line, text: value }
  const { text, id } = (typeof value === 'object' && value !== null ? value : {}) as { text?: unknown; id?: unknown }
  if (typeof text !== 'string')
    throw new ForetokenError('bad_argument', `line ${line} is neither a JSON string nor an object with a "text"`)
  if (id !== undefined && typeof id !== 'string' && typeof id !== 'number')
    throw new ForetokenError('bad_argument', `line ${line}: id is neither a text nor a number`)
  return { line, text, ...(id !== undefined && { id }) }
}

/** Gathers lines into groups of at most `most` texts, and of about `units` UTF-16 units. */
export async function* inGroups(
  lines: AsyncIterable<NumberedText | BadLine>,
  most: number,
  units: number,
): AsyncGenerator<(NumberedText | BadLine)[]> {
  let group: (NumberedText | BadLine)[] = []
  let length = 0
  for await (const line of lines) {
    group.push(line)
    length += 'text' in line ? line.text.length : 0
    if (group.length < most && length < units) continue
    yield group
    group = []
    length = 0
  }
  if (group.length > 0) yield group
}
