/** What goes to a terminal and what to a pipe. Everything but a command's own output goes to stderr. */
import { visible, visibleName } from './visible.ts'

/** Colours only for people, and only if they want them (no-color.org). */
function coloured(): boolean {
  return Boolean(process.stderr.isTTY) && !process.env.NO_COLOR && process.env.TERM !== 'dumb'
}

function dim(text: string): string {
  return coloured() ? `\x1b[2m${text}\x1b[22m` : text
}

/** Whether stdout belongs to a file that is written as `-`. */
let reserved = false

/** Keeps stdout for `writeStdout`: whatever else is printed goes to stderr from here on. */
export function reserveStdout(): void {
  reserved = true
}

/** Writes bytes of a file to stdout. Resolves once the system has them; what goes wrong ends the command, see `main.ts`. */
export function writeStdout(bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => process.stdout.write(bytes, (error) => error ?? resolve()))
}

/** Writes a piece of an answer. A pipe gets it as it is, a terminal nothing that it would act on. */
export function write(text: string): void {
  const stream = reserved ? process.stderr : process.stdout
  stream.write(stream.isTTY ? visible(text) : text)
}

/** Writes a line of output. */
export function print(text: string): void {
  write(`${text}\n`)
}

/** A name in a line of output. */
export function name(text: string): string {
  return process.stdout.isTTY ? visibleName(text) : text
}

/** Writes a line that is about the output; `aside`: it may be overlooked. */
export function note(text: string, kind: 'aside' | 'plain' = 'plain'): void {
  const shown = process.stderr.isTTY ? visible(text) : text
  process.stderr.write(`${kind === 'aside' ? dim(shown) : shown}\n`)
}

/** Says what is odd about a model, each thing once. */
export function warn(archive: object): void {
  const { warnings = [] } = archive as { readonly warnings?: readonly string[] }
  for (const warning of new Set(warnings)) note(`warning: ${warning}`)
}

/** One line on stderr that is written over, while stderr is a terminal; nothing otherwise. */
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

/** Rows of cells, each right-aligned in `width` characters. */
export function columns(rows: readonly (readonly (string | number)[])[], width: number): string[] {
  return rows.map((row) => row.map((cell) => String(cell).padStart(width)).join(''))
}

/** 1234567 -> `1.2 MB`. */
export function size(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3))
  const value = bytes / 1000 ** power
  return `${value.toFixed(power > 0 && value < 10 ? 1 : 0)} ${units[power]}`
}
