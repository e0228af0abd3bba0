/**
 * The tokens of the text that a client sees, each with where its own text begins.
 *
 * An answer holds text back that could be the beginning of a stop string, and shows it with a later token or not at all. So a token is
 * told when its own text is shown, and those behind the end of the visible text are not told: they would give the stop string away.
 */
import type { AnyEngine, TokenEvent } from '../../src/index.ts'

export interface VisibleToken {
  readonly token: TokenEvent
  /** Where its text begins in the answer's, in UTF-16 units. */
  readonly offset: number
}

interface Held extends VisibleToken {
  readonly end: number
}

export class VisibleTokens {
  readonly #tokenizer: AnyEngine['tokenizer']
  /** Holds a character of which bytes are missing: it belongs to the token that completes it. */
  readonly #decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  readonly #isEnd: (id: number) => boolean
  readonly #held: Held[] = []
  /** Length of the text of all tokens so far, and of what was shown of it. */
  #own = 0
  #shown = 0

  /** `isEnd`: tokens that end a turn have no text and are not told. */
  constructor({ tokenizer }: Pick<AnyEngine, 'tokenizer'>, isEnd: (id: number) => boolean) {
    this.#tokenizer = tokenizer
    this.#isEnd = isEnd
  }

  /** The next token of the answer. Gives those whose text is shown now, in order. */
  push(token: TokenEvent): VisibleToken[] {
    this.#shown += token.text.length
    if (!this.#isEnd(token.id)) {
      const offset = this.#own
      this.#own += this.#lengthOf(token.id)
      this.#held.push({ token, offset, end: this.#own })
    }
    const next = this.#held.findIndex(({ offset, end }) => end > this.#shown || offset >= this.#shown)
    return this.#held.splice(0, next < 0 ? this.#held.length : next)
  }

  /** The end of the answer. Gives the rest that is shown: all of it, unless a stop string hid the end. */
  finish(): VisibleToken[] {
    const hidden = this.#own > this.#shown
    return this.#held.splice(0).filter(({ offset }) => !hidden || offset < this.#shown)
  }

  #lengthOf(id: number): number {
    if (this.#tokenizer.isSpecial(id)) return 0
    return this.#decoder.decode(this.#tokenizer.tokenBytes(id), { stream: true }).length
  }
}
