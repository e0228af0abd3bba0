/**
 * Writes a server's log as JSON lines. If nobody reads it, lines beyond a bound are dropped and
 * counted, so that memory stays limited.
 */
import type { Writable } from 'node:stream'
import { visible } from './visible.ts'

/** Maximum number of bytes that wait for the reader. */
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
    // The stream counts bytes, and a UTF-16 unit takes at most three.
    if (this.#stream.writableLength + 3 * text.length > this.#most) {
      if (this.#dropped++ === 0) this.#stream.once('drain', () => this.#reportDropped())
      return
    }
    this.#reportDropped()
    this.#line(text)
  }

  /** Writes the number of dropped lines in their place. */
  #reportDropped(): void {
    if (this.#dropped === 0) return
    this.#line(JSON.stringify({ time: new Date().toISOString(), dropped: this.#dropped }))
    this.#dropped = 0
  }

  #line(text: string): void {
    this.#stream.write(`${this.#stream.isTTY ? visible(text) : text}\n`)
  }
}
