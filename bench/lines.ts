/** Reads the lines of a data file, plain or gzipped. */
import { createReadStream } from 'node:fs'
import { stat } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { ForetokenError } from '../src/index.ts'

/** Maximum number of characters of a line. */
const maxCharacters = 1 << 24

/**
 * Yields the lines of a file, or of stdin for `-`, without their ends; splits at \n only, since
 * JSON may hold U+2028. Throws `not_found`, `io`, `bad_argument`.
 */
export async function* linesOf(path: string): AsyncGenerator<string> {
  const stdin = path === '-'
  if (!stdin && !(await stat(path).catch(() => undefined))?.isFile())
    throw new ForetokenError('not_found', `${path}: no such file`)
  const bytes: Readable = stdin ? process.stdin : createReadStream(path)
  const stream = path.endsWith('.gz') ? bytes.pipe(createGunzip()) : bytes
  bytes.on('error', (error) => stream.destroy(error))
  const decoder = new TextDecoder('utf-8', { fatal: true })
  let held = ''
  try {
    for await (const chunk of stream) {
      const parts = (held + decoder.decode(chunk as Uint8Array, { stream: true })).split('\n')
      held = parts.pop() ?? ''
      if (held.length > maxCharacters) throw new Error(`a line has more than ${maxCharacters} characters`)
      for (const line of parts) yield line.replace(/\r$/, '')
    }
    held += decoder.decode()
  } catch (cause) {
    if (cause instanceof TypeError)
      throw new ForetokenError('bad_argument', `${path} is not UTF-8 text; convert it first`, { cause })
    throw new ForetokenError('io', `${path}: ${(cause as Error).message}`, { cause })
  } finally {
    bytes.destroy()
  }
  if (held !== '') yield held
}

/**
 * Yields the JSON objects of a file of JSON lines with their places, and skips blank lines. Throws
 * what `linesOf` throws, and `bad_argument`.
 */
export async function* jsonLinesOf(
  path: string,
): AsyncGenerator<{ readonly row: Record<string, unknown>; readonly where: string }> {
  let number = 0
  for await (const line of linesOf(path)) {
    number++
    if (line.trim() !== '') yield { row: jsonLine(line, path, number), where: `${path}, line ${number}` }
  }
}

/** Parses `text` as a JSON object. Throws `bad_argument` with the place. */
export function jsonLine(text: string, path: string, line: number): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new ForetokenError('bad_argument', `${path}, line ${line}: ${(cause as Error).message}`, { cause })
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>
  throw new ForetokenError('bad_argument', `${path}, line ${line}: not a JSON object`)
}
