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
 * Yields the texts of operands that are lines of JSON, as those of a file. Throws nothing: a line that
 * is not a text is yielded with its error.
 */
export async function* textsOfJsonl(operands: readonly string[]): AsyncGenerator<NumberedText | BadLine> {
  const rows = operands.join('\n').split('\n')
  for (const [index, row] of rows.entries())
    if (row.trim() !== '') yield textOrError(index + 1, () => fromJson(row, index + 1))
}

/**
 * Yields the texts of a file, `-` is stdin: each line is a text or, with `json`, a JSON string or an
 * object with `text` and perhaps `id`. Blank lines are skipped. Throws `not_found`, `io`.
 */
export async function* textsOfFile(path: string, json: boolean): AsyncGenerator<NumberedText | BadLine> {
  for await (const { number: line, bytes } of readLines(path)) {
    const read = textOrError(line, () => {
      if (!bytes) throw new ForetokenError('bad_argument', `line ${line} is longer than ${maxLineBytes} bytes`)
      const text = decodeText(bytes, `line ${line}`)
      if (text.trim() === '') return undefined
      return json ? fromJson(text, line) : { line, text }
    })
    if (read) yield read
  }
}

function textOrError<T extends NumberedText | undefined>(line: number, read: () => T): T | BadLine {
  try {
    return read()
  } catch (error) {
    if (!(error instanceof ForetokenError)) throw error
    return { line, error }
  }
}

function fromJson(row: string, line: number): NumberedText {
  let value: unknown
  try {
    value = JSON.parse(row)
  } catch {
    throw new ForetokenError('bad_argument', `line ${line} is not JSON`)
  }
  if (typeof value === 'string') return { line, text: wholeText(value, line) }
  const { text, id } = (typeof value === 'object' && value !== null ? value : {}) as { text?: unknown; id?: unknown }
  if (typeof text !== 'string')
    throw new ForetokenError('bad_argument', `line ${line} is neither a JSON string nor an object with a "text"`)
  if (id !== undefined && typeof id !== 'string' && typeof id !== 'number')
    throw new ForetokenError('bad_argument', `line ${line}: id is neither a text nor a number`)
  return { line, text: wholeText(text, line), ...(id !== undefined && { id }) }
}

/** Throws for half of a surrogate pair, which only an escape of JSON can write: no token stands for it. */
function wholeText(text: string, line: number): string {
  if (text.isWellFormed()) return text
  throw new ForetokenError('bad_argument', `line ${line} has half of a surrogate pair; give whole characters`)
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
