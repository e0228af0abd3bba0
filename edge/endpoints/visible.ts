/**
 * Finds the tokens of the text that a client sees, and where the text of each begins.
 *
 * An answer holds back text that could be the beginning of a stop string, and shows it with a later
 * token or not at all. So a token is reported when its own text is shown, and tokens after the end
 * of the visible text are not: they would reveal the stop string.
 */
import type { TextService, TokenEvent } from '../../src/index.ts'

export interface VisibleToken {
  readonly token: TokenEvent
  /** Index in the answer's text at which the token's text begins, in UTF-16 units. */
  readonly offset: number
  /** Index at which it ends. */
  readonly end: number
}

interface VisibleOptions {
  readonly engine: Pick<TextService, 'tokenizer'>
  readonly isEnd: (id: number) => boolean
  readonly shown?: readonly number[] | undefined
}

export class VisibleTokens {
  readonly #tokenizer: TextService['tokenizer']
  /** Holds a character that lacks bytes: it belongs to the token that completes it. */
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  readonly #isEnd: (id: number) => boolean
  readonly #shown: ReadonlySet<number>
  readonly #held: VisibleToken[] = []
  /** Length of the text of all tokens so far, in UTF-16 units. */
  #length = 0
  /** Length of the text that was shown. */
  #seen = 0

  /**
   * `isEnd` tells which tokens end a turn: they have no text and are not reported. `shown` are the
   * special tokens that have text.
   */
  constructor({ engine, isEnd, shown = [] }: VisibleOptions) {
    this.#tokenizer = engine.tokenizer
    this.#isEnd = isEnd
    this.#shown = new Set(shown)
  }

  /** Adds the next token of the answer. Returns the tokens whose text is shown now, in order. */
  push(token: TokenEvent): VisibleToken[] {
    this.#seen += token.text.length
    if (!this.#isEnd(token.id)) {
      const offset = this.#length
      this.#length += this.#lengthOf(token.id)
      this.#held.push({ token, offset, end: this.#length })
    }
    const next = this.#held.findIndex(({ offset, end }) => end > this.#seen || offset >= this.#seen)
    return this.#held.splice(0, next < 0 ? this.#held.length : next)
  }

  /**
   * Ends the answer. Returns the other tokens that are shown: all of them, unless a stop string
   * hides the end.
   */
  finish(): VisibleToken[] {
    const hidden = this.#length > this.#seen
    return this.#held.splice(0).filter(({ offset }) => !hidden || offset < this.#seen)
  }

  #lengthOf(id: number): number {
    if (this.#tokenizer.isSpecial(id) && !this.#shown.has(id)) return 0
    return this.#decoder.decode(this.#tokenizer.tokenBytes(id), { stream: true }).length
  }
}
