/** Divides an answer into the thoughts that some models write first, and the rest. */

/** The marks around thoughts. */
export interface ThinkingTags {
  readonly open: string
  readonly close: string
}

/** Text of one kind. */
export interface ThoughtOrText {
  readonly type: 'reasoning' | 'content'
  readonly text: string
}

/**
 * Reads an answer while it streams. Thoughts count only at its beginning; white space around them
 * is dropped. Text that could be a mark, or white space before one, is held back.
 */
export class ThinkingReader {
  readonly #tags: ThinkingTags
  #place: 'start' | 'thoughts' | 'gap' | 'text'
  #held = ''
  /** Whether a thought has been passed on, so that white space counts. */
  #thought = false

  /** `begun`: the prompt ends with the opening mark, so the answer begins inside. */
  constructor(tags: ThinkingTags, begun: boolean) {
    this.#tags = tags
    this.#place = begun ? 'thoughts' : 'start'
  }

  /** Whether the answer is, or may still be, in its thoughts. */
  get isThinking(): boolean {
    return this.#place === 'thoughts'
  }

  /** Reads more text. Returns what is certain now. */
  push(text: string): ThoughtOrText[] {
    return this.#read(text, false)
  }

  /** Ends the answer. Returns the rest. */
  finish(): ThoughtOrText[] {
    return this.#read('', true)
  }

  #read(text: string, final: boolean): ThoughtOrText[] {
    const parts: ThoughtOrText[] = []
    this.#held += text
    if (this.#place === 'start') this.#readStart(final)
    if (this.#place === 'thoughts') this.#readThoughts(parts, final)
    if (this.#place === 'gap') {
      this.#held = this.#held.trimStart()
      if (this.#held !== '') this.#place = 'text'
    }
    if (this.#place === 'text' && this.#held !== '') {
      parts.push({ type: 'content', text: this.#held })
      this.#held = ''
    }
    return parts
  }

  #readStart(final: boolean): void {
    const { open } = this.#tags
    const begin = this.#held.trimStart()
    if (begin.startsWith(open)) {
      this.#held = begin.slice(open.length)
      this.#place = 'thoughts'
    } else if (final || !open.startsWith(begin)) this.#place = 'text'
  }

  #readThoughts(parts: ThoughtOrText[], final: boolean): void {
    const { close } = this.#tags
    if (!this.#thought) this.#held = this.#held.trimStart()
    const found = this.#held.indexOf(close)
    const whole = found < 0 ? this.#held : this.#held.slice(0, found)
    const kept = found >= 0 || final ? 0 : beginningAtEnd(whole, close)
    const thought = whole.slice(0, whole.length - kept).trimEnd()
    if (thought !== '') {
      parts.push({ type: 'reasoning', text: thought })
      this.#thought = true
    }
    if (found >= 0) {
      this.#held = this.#held.slice(found + close.length)
      this.#place = 'gap'
    } else this.#held = final ? '' : this.#held.slice(thought.length)
  }
}

/** Returns the length of the longest beginning of `mark` that `text` ends with. */
export function beginningAtEnd(text: string, mark: string): number {
  let length = Math.min(mark.length - 1, text.length)
  while (length > 0 && !mark.startsWith(text.slice(text.length - length))) length--
  return length
}
