/** Token ids to text, as they come: whole UTF-8 only. */

/** What a tokenizer says of its vocabulary. */
export interface TokenBytes {
  /** The bytes that an id stands for, often no whole character. */
  tokenBytes(id: number): Uint8Array
  /** Whether an id is markup (end of turn, roles) and not text. */
  isSpecial(id: number): boolean
}

export interface DetokenizerOptions {
  /** Show special tokens too. Default false. */
  readonly special?: boolean
  /** Drop one space at the very beginning: a whole text of a SentencePiece model, not one that continues another. */
  readonly dropLeadingSpace?: boolean
}

export interface Detokenizer {
  /** The text that `id` completes; may be empty. A character that lacks bytes is held until they come. */
  push(id: number): string
  /** What is held at the end, as U+FFFD; begins anew. */
  flush(): string
}

/** In total the text is that of `TextDecoder` over all bytes: what is not UTF-8 becomes U+FFFD in the same places. */
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
      if (!options.special && vocabulary.isSpecial(id)) return ''
      return show(decoder.decode(vocabulary.tokenBytes(id), { stream: true }))
    },
    flush() {
      const rest = show(decoder.decode())
      begun = !options.dropLeadingSpace
      return rest
    },
  }
}
