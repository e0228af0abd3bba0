/** A server's log: a JSON object a line. Who does not read it costs a server no more than a bound: lines that do not fit are dropped, and counted. */
import type { Writable } from 'node:stream'
import { visible } from './visible.ts'

/** Bytes that may wait for the reader. */
const most = 1 << 20

export class LogWriter {
  readonly #stream: Writable & { readonly isTTY?: boolean }
  readonly #most: number
  #dropped = 0

  constructor(stream: Writable & { readonly isTTY?: boolean }, mostBytes = most) {
    this.#stream = stream
    this.#most = mostBytes
  }

  write(line: object): void {
    const text = JSON.stringify(line)
    // Each UTF-16 unit takes at most three bytes; the stream counts bytes.
    if (this.#stream.writableLength + 3 * text.length > this.#most) {
      if (this.#dropped++ === 0) this.#stream.once('drain', () => this.#tell())
      return
    }
    this.#tell()
    this.#line(text)
  }

  /** Says how many lines are missing, where they are missing. */
  #tell(): void {
    if (this.#dropped === 0) return
    this.#line(JSON.stringify({ time: new Date().toISOString(), dropped: this.#dropped }))
    this.#dropped = 0
  }

  #line(text: string): void {
    this.#stream.write(`${this.#stream.isTTY ? visible(text) : text}\n`)
  }
}
