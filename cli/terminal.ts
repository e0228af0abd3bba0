/** Writes output to stdout, and everything else to stderr, safely for terminals. */
import type { AnswerTerminal } from './answer-writer.ts'
import { visible, visibleName } from './visible.ts'

/** Returns true if stderr is a terminal that accepts colours (no-color.org). */
function coloured(): boolean {
  return Boolean(process.stderr.isTTY) && !process.env.NO_COLOR && process.env.TERM !== 'dumb'
}

function dim(text: string): string {
  return coloured() ? `\x1b[2m${text}\x1b[22m` : text
}

/** Whether stdout is reserved for a file that is written as `-`. */
let reserved = false

/** Reserves stdout for `writeStdout`; all other output goes to stderr from now on. */
export function reserveStdout(): void {
  reserved = true
}

/**
 * Writes bytes of a file to stdout. Resolves when the system has accepted them; an error ends the
 * command, see `main.ts`.
 */
export function writeStdout(bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => process.stdout.write(bytes, (error) => error ?? resolve()))
}

/**
 * Writes a part of an answer: unchanged to a pipe, with control characters escaped to a terminal.
 */
export function write(text: string): void {
  const stream = reserved ? process.stderr : process.stdout
  stream.write(stream.isTTY ? visible(text) : text)
}

/** Writes a line of output. */
export function print(text: string): void {
  write(`${text}\n`)
}

/** Returns a name for a line of output, escaped if stdout is a terminal. */
export function name(text: string): string {
  return process.stdout.isTTY ? visibleName(text) : text
}

/** Writes a line to stderr; an `aside` is dimmed. */
export function note(text: string, kind: 'aside' | 'plain' = 'plain'): void {
  const shown = process.stderr.isTTY ? visible(text) : text
  process.stderr.write(`${kind === 'aside' ? dim(shown) : shown}\n`)
}

/** Returns where answers are written. A pipe gets those that may be corrected when they are whole. */
export function answerTerminal(corrected: boolean): AnswerTerminal {
  return { live: Boolean(process.stdout.isTTY) || !corrected, write, note: (text) => note(text, 'aside') }
}

/** Prints the warnings of a model, each once. */
export function warn(archive: object): void {
  const { warnings = [] } = archive as { readonly warnings?: readonly string[] }
  for (const warning of new Set(warnings)) note(`warning: ${warning}`)
}

/** A line on stderr that is overwritten. Shows nothing if stderr is not a terminal. */
export class StatusLine {
  readonly #live = Boolean(process.stderr.isTTY)
  #shown = false
  #last = 0

  /** Shows `text`, at most twelve times a second unless it is `final`. */
  show(text: string, final = false): void {
    if (!this.#live || (!final && performance.now() - this.#last < 80)) return
    this.#last = performance.now()
    this.#shown = true
    process.stderr.write(`\r\x1b[K${dim(visibleName(text).slice(0, (process.stderr.columns ?? 80) - 1))}`)
  }

  clear(): void {
    if (this.#shown) process.stderr.write('\r\x1b[K')
    this.#shown = false
  }
}

/** Formats rows of cells, each right-aligned in `width` characters. */
export function columns(rows: readonly (readonly (string | number)[])[], width: number): string[] {
  return rows.map((row) => row.map((cell) => String(cell).padStart(width)).join(''))
}

/** Formats bytes: 1234567 is `1.2 MB`. */
export function size(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3))
  const value = bytes / 1000 ** power
  return `${value.toFixed(power > 0 && value < 10 ? 1 : 0)} ${units[power]}`
}
