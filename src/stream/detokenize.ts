/** Turns token ids into text as they come. Text is always whole UTF-8. */

/** The parts of a tokenizer that describe its vocabulary. */
export interface TokenBytes {
  /** Returns the bytes of an id. They may be part of a character. */
  tokenBytes(id: number): Uint8Array
  /** Returns true if an id is markup (end of turn, roles), not text. */
  isSpecial(id: number): boolean
}

export interface DetokenizerOptions {
  /** Shows special tokens, too. Default false. */
  readonly special?: boolean
  /** Ids of special tokens that are shown. Default none. */
  readonly show?: ReadonlySet<number> | undefined
  /**
   * Drops one space at the very beginning: for a whole text of a SentencePiece model, not for one
   * that continues another.
   */
  readonly dropLeadingSpace?: boolean
}

export interface Detokenizer {
  /**
   * Returns the text that `id` completes, which may be empty. A character that lacks bytes is held
   * until they come.
   */
  push(id: number): string
  /** Returns the held bytes as U+FFFD, and starts a new text. */
  flush(): string
}

/**
 * The text in total equals that of `TextDecoder` over all bytes: bytes that are not UTF-8 become
 * U+FFFD in the same places.
 */
export function createDetokenizer(vocabulary: TokenBytes, options: DetokenizerOptions = {}): Detokenizer {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
  let begun = !options.dropLeadingSpace
  const show = (text: string) => {
    if (begun || text === '') return text
    begun = true
    return text.startsWith(' ') ? text.slice(1) : text
  }
  return {
    push(id) {
      if (!options.special && vocabulary.isSpecial(id) && !options.show?.has(id)) return ''
      return show(decoder.decode(vocabulary.tokenBytes(id), { stream: true }))
    },
    flush() {
      const rest = show(decoder.decode())
      begun = !options.dropLeadingSpace
      return rest
    },
  }
}
