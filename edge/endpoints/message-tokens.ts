/**
 * Finds the tokens of an answer's messages. Tokens of thoughts, of calls and of the marks around them
 * are no part of a message.
 */
import type { AnswerPart } from '../../src/index.ts'
import type { AnswerParts } from './parts.ts'
import type { VisibleToken } from './visible.ts'

export class MessageTokens {
  readonly #parts: AnswerParts
  /** Tokens that are shown and belong to nothing yet. */
  readonly #waiting: VisibleToken[] = []
  #end = 0
  /** Whether the answer's last part so far is content; true before the first part. */
  #inMessage = true

  constructor(parts: AnswerParts) {
    this.#parts = parts
  }

  /** Adds tokens that are shown now, before the parts that they show. */
  add(tokens: readonly VisibleToken[]): void {
    for (const token of tokens) this.#waiting.push(token)
  }

  /** Returns the tokens of the next part of the answer. Tokens before it that it does not show are left out. */
  take(part: AnswerPart): VisibleToken[] {
    this.#inMessage = part.type === 'content'
    const from = this.#parts.starts.get(part)
    if (part.type !== 'content' || from === undefined) return []
    this.#end = from + part.text.length
    const next = this.#waiting.findIndex(({ offset }) => offset >= this.#end)
    // A token without text begins a character that the next one completes.
    return this.#waiting
      .splice(0, next < 0 ? this.#waiting.length : next)
      .filter(({ offset, end }) => end > from || offset >= from)
  }

  /** Returns the tokens of the last message that are left at the end of the answer. */
  rest(): VisibleToken[] {
    return this.#waiting.splice(0).filter(({ offset }) => this.#inMessage || offset < this.#end)
  }
}
