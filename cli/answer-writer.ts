/** Writes an answer as it comes, with its correction. */
import type { CorrectionEvent } from '../node/index.ts'

/** Where answers are written. */
export interface AnswerTerminal {
  /** Whether text is written as it comes. Programs that read it can't tell a correction from an answer. */
  readonly live: boolean
  write(text: string): void
  note(text: string): void
}

export class AnswerWriter {
  readonly #terminal: AnswerTerminal
  /** The answer so far, as it is now. */
  text = ''
  /** The last character that was written. */
  #last = '\n'
  /** Number of UTF-16 units of the answer that were not written yet, at its end. */
  #held = 0

  constructor(terminal: AnswerTerminal) {
    this.#terminal = terminal
  }

  /** Adds text. Where nobody reads along it is held until the answer is whole. */
  push(text: string): void {
    this.text += text
    if (this.#terminal.live) this.#write(text)
    else this.#held += text.length
  }

  /** Drops the end of the answer, and writes the line that remains of it again. */
  correct({ index, offset }: Pick<CorrectionEvent, 'index' | 'offset'>): void {
    this.text = this.text.slice(0, offset)
    if (!this.#terminal.live) {
      this.#held = offset
      return
    }
    this.#endLine()
    this.#terminal.note(`corrected from token ${index + 1}:`)
    this.#write(this.text.slice(this.text.lastIndexOf('\n') + 1))
  }

  /** Ends a whole answer. */
  finish(): void {
    this.stop()
    if (this.text === '') this.#write('\n')
  }

  /** Ends the answer, whole or not, and its line. */
  stop(): void {
    if (this.#held > 0) this.#write(this.text)
    this.#held = 0
    this.#endLine()
  }

  #endLine(): void {
    if (this.#last !== '\n') this.#write('\n')
  }

  #write(text: string): void {
    if (text === '') return
    this.#terminal.write(text)
    this.#last = text.at(-1) ?? this.#last
  }
}
