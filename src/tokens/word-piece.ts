/**
 * Cuts a word into the longest pieces of the vocabulary from its front, as BERT does: pieces after the
 * first have a prefix there (`##`). A word that can't be cut so, or is too long, is one unknown token.
 */
import type { Vocabulary } from '../model/vocabulary.ts'

export interface WordPieceOptions {
  readonly vocabulary: Vocabulary
  readonly unknown: number
  readonly prefix: string
  /** Ids that no word becomes: special tokens. */
  readonly special: ReadonlySet<number>
  /** Maximum number of characters of a word. */
  readonly longestWord: number
}

export class WordPiece {
  readonly #options: WordPieceOptions
  /** Number of UTF-16 units of the longest token: no longer piece is looked for. */
  readonly #longest: number

  constructor(options: WordPieceOptions) {
    this.#options = options
    let longest = 0
    for (let id = 0; id < options.vocabulary.size; id++)
      longest = Math.max(longest, options.vocabulary.textOf(id)?.length ?? 0)
    this.#longest = longest
  }

  /** Appends the ids of a word to `into`. */
  encode(word: string, into: number[]): void {
    const { unknown, longestWord } = this.#options
    // A character has at most two units.
    const ids = word.length <= 2 * longestWord && [...word].length <= longestWord ? this.#pieces(word) : undefined
    if (!ids) into.push(unknown)
    else for (const id of ids) into.push(id)
  }

  #pieces(word: string): readonly number[] | undefined {
    const { vocabulary, prefix, special } = this.#options
    const ids: number[] = []
    for (let from = 0; from < word.length; ) {
      const before = from > 0 ? prefix : ''
      let to = Math.min(word.length, from + this.#longest - before.length)
      let id: number | undefined
      for (; to > from; to--) {
        id = vocabulary.idOf(before + word.slice(from, to))
        if (id !== undefined && !special.has(id)) break
        id = undefined
      }
      if (id === undefined) return undefined
      ids.push(id)
      from = to
    }
    return ids
  }
}
