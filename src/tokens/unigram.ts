// biome-ignore-all lint/style/noNonNullAssertion: loops over typed arrays, whose indices are in bounds by construction
/**
 * Cuts a word into the pieces whose scores have the greatest sum, as sentencepiece's unigram model
 * does (Viterbi's algorithm). A character that no piece is made of has the least score minus 10, and
 * adjacent ones become one unknown token, or the tokens of their bytes.
 *
 * A word of n units takes n times the longest piece at most, and 16 bytes for a unit. Of equal sums the
 * one whose last piece is longer wins, at each place, since the reference keeps the first that it finds.
 */
import { PieceTrie } from './piece-trie.ts'

export interface UnigramOptions {
  /** Texts by id, with their scores. Of equal texts the last counts. */
  readonly pieces: readonly (readonly [text: string, score: number])[]
  readonly unknown: number
  /** Whether unknown characters become the tokens of their bytes, `<0x00>` to `<0xFF>`. */
  readonly byteFallback: boolean
  /** Ids that no text becomes: special tokens. */
  readonly special: ReadonlySet<number>
}

const unknownPenalty = 10
/** Up to this many units of a word the tables are kept for the next one. */
const keptLength = 4096

/** The best way to each place of a word. */
interface Paths {
  readonly sums: Float64Array
  /** Where the last piece of the way begins. */
  readonly starts: Int32Array
  readonly ids: Int32Array
}

/** Not reentrant: it reuses its tables. */
export class Unigram {
  readonly #unknown: number
  readonly #unknownScore: number
  readonly #scores: Float64Array
  readonly #trie: PieceTrie
  /** Token of each byte; empty without byte fallback. */
  readonly #bytes: readonly (number | undefined)[]
  readonly #kept = pathsOf(keptLength)

  constructor({ pieces, unknown, byteFallback, special }: UnigramOptions) {
    this.#unknown = unknown
    this.#scores = Float64Array.from(pieces, ([, score]) => score)
    this.#unknownScore = this.#scores.reduce((least, score) => Math.min(least, score), Infinity) - unknownPenalty
    const ids = new Map<string, number>()
    for (const [id, [text]] of pieces.entries()) ids.set(text, id)
    for (const [text, id] of ids) if (special.has(id)) ids.delete(text)
    this.#trie = new PieceTrie(ids)
    this.#bytes = byteFallback ? Array.from({ length: 256 }, (_, byte) => this.#trie.idOf(byteName(byte))) : []
  }

  /** Appends the ids of a word to `into`. */
  encode(word: string, into: number[]): void {
    const paths = word.length > keptLength ? pathsOf(word.length) : this.#kept
    this.#search(word, paths)
    const { starts, ids } = paths
    const ends: number[] = []
    for (let end = word.length; end > 0; end = starts[end]!) ends.push(end)
    let unknownFrom = -1
    for (let index = ends.length - 1; index >= 0; index--) {
      const end = ends[index]!
      const id = ids[end]!
      if (id !== this.#unknown) {
        into.push(id)
        continue
      }
      if (unknownFrom < 0) unknownFrom = starts[end]!
      if (index > 0 && ids[ends[index - 1]!] === id) continue
      this.#writeUnknown(word.slice(unknownFrom, end), into)
      unknownFrom = -1
    }
  }

  /** Fills in the best way to each place. */
  #search(word: string, { sums, starts, ids }: Paths): void {
    const trie = this.#trie
    const scores = this.#scores
    starts.fill(-1, 0, word.length + 1)
    sums[0] = 0
    for (let start = 0; start < word.length; ) {
      const next = start + ((word.codePointAt(start) ?? 0) > 0xffff ? 2 : 1)
      const before = sums[start]!
      let single = false
      for (let end = start, node = 0; end < word.length; ) {
        node = trie.child(node, word.charCodeAt(end++))
        if (node === 0) break
        const id = trie.idAt(node)
        if (id < 0) continue
        if (end === next) single = true
        const sum = scores[id]! + before
        // A comparison with NaN, the sum of opposite infinities, is false here as in the reference.
        if (starts[end]! >= 0 && !(sum > sums[end]!)) continue
        sums[end] = sum
        starts[end] = start
        ids[end] = id
      }
      const sum = this.#unknownScore + before
      if (!single && (starts[next]! < 0 || sum > sums[next]!)) {
        sums[next] = sum
        starts[next] = start
        ids[next] = this.#unknown
      }
      start = next
    }
  }

  #writeUnknown(text: string, into: number[]): void {
    // Characters that are unknown alone may be a piece together.
    const whole = this.#trie.idOf(text)
    const bytes = whole === undefined ? this.#bytesOf(text) : undefined
    if (bytes) for (const id of bytes) into.push(id)
    else into.push(whole ?? this.#unknown)
  }

  #bytesOf(text: string): number[] | undefined {
    if (this.#bytes.length === 0) return undefined
    const ids: number[] = []
    for (const byte of new TextEncoder().encode(text)) {
      const id = this.#bytes[byte]
      if (id === undefined) return undefined
      ids.push(id)
    }
    return ids
  }
}

function pathsOf(length: number): Paths {
  return {
    sums: new Float64Array(length + 1),
    starts: new Int32Array(length + 1),
    ids: new Int32Array(length + 1),
  }
}

function byteName(byte: number): string {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`
}
