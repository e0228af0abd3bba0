/** What goes to a terminal and what to a pipe. Everything but a command's own output goes to stderr. */

/** Colours only for people, and only if they want them (no-color.org). */
function coloured(): boolean {
  return Boolean(process.stderr.isTTY) && !process.env.NO_COLOR && process.env.TERM !== 'dumb'
}

export function dim(text: string): string {
  return coloured() ? `\x1b[2m${text}\x1b[22m` : text
}

/** Writes a line of output. */
export function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

/** Writes a line that is about the output. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`)
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
    process.stderr.write(`\r\x1b[K${dim(text.slice(0, (process.stderr.columns ?? 80) - 1))}`)
  }

  clear(): void {
    if (this.#shown) process.stderr.write('\r\x1b[K')
    this.#shown = false
  }
}

/** All of stdin. */
export async function readStdin(): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of process.stdin) chunks.push(chunk)
  return Buffer.concat(chunks).toString('utf8')
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
