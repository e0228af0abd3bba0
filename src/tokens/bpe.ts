/**
 * Encodes one word by byte-pair encoding on token ids: the adjacent pair with the lowest rank is
 * merged, the leftmost first, until no pair merges. A word of n symbols takes O(n log n).
 *
 * Nothing is remembered from one word to the next: a cache of words would be shared by everyone who
 * uses the model, and its timing would reveal what others have sent.
 */

import { defined } from '../base/at.ts'
import type { Vocabulary } from '../model/vocabulary.ts'
import type { MergeRanks } from './merge-ranks.ts'
import { MinHeap } from './min-heap.ts'

/** Tables and settings of a BPE model. */
export interface BpeOptions {
  readonly ranks: MergeRanks
  /** Id of the token that each merge produces, by rank. */
  readonly merged: Uint32Array
  readonly vocabulary: Pick<Vocabulary, 'find'>
  /** Id for a symbol that is not a token; undefined if such symbols are dropped. */
  readonly unknown: number | undefined
  /** Whether adjacent unknown symbols become one. */
  readonly fuseUnknown: boolean
  /** Whether a symbol that is not a token becomes the tokens of its bytes, `<0x00>` to `<0xFF>`. */
  readonly byteFallback: boolean
  /** Whether a word that is itself a token is encoded as it, regardless of the merges. */
  readonly ignoreMerges: boolean
}

/** Up to this many symbols a scan over all pairs is faster than a heap. */
const scanLimit = 48

/** A heap key is one exact number: rank * positions + position. */
const positions = 2 ** 22

/** A BPE encoder. It is not reentrant: it reuses its arrays. */
export class Bpe {
  readonly #options: BpeOptions
  readonly #ids: number[] = []
  readonly #ranks: number[] = []

  constructor(options: BpeOptions) {
    this.#options = options
  }

  /** Appends the ids of `word` to `into`. Throws RangeError for a word of 2^22 symbols or more. */
  encode(word: string, into: number[]): void {
    const { ignoreMerges, vocabulary } = this.#options
    const whole = ignoreMerges ? vocabulary.find(word, 0, word.length) : undefined
    if (whole !== undefined) {
      into.push(whole)
      return
    }
    const ids = this.#symbols(word)
    const length = ids.length <= scanLimit ? this.#scan(ids) : this.#heap(ids)
    for (let at = 0; at < length; at++) into.push(defined(ids[at]))
    ids.length = 0
  }

  /** Returns the ids of the word's characters, in the shared array. */
  #symbols(word: string): number[] {
    const { vocabulary, unknown, fuseUnknown } = this.#options
    const ids = this.#ids
    let wasUnknown = false
    for (let from = 0; from < word.length; ) {
      const to = from + (defined(word.codePointAt(from)) > 0xffff ? 2 : 1)
      const id = vocabulary.find(word, from, to)
      const bytes = id === undefined ? this.#bytes(word.slice(from, to)) : undefined
      if (id !== undefined) ids.push(id)
      else if (bytes) for (const byte of bytes) ids.push(byte)
      else if (unknown !== undefined && !(wasUnknown && fuseUnknown)) ids.push(unknown)
      wasUnknown = id === undefined && !bytes
      from = to
    }
    return ids
  }

  #bytes(symbol: string): number[] | undefined {
    if (!this.#options.byteFallback) return undefined
    const ids: number[] = []
    for (const byte of new TextEncoder().encode(symbol)) {
      const token = `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`
      const id = this.#options.vocabulary.find(token, 0, token.length)
      if (id === undefined) return undefined
      ids.push(id)
    }
    return ids
  }

  #rank(left: number, right: number): number {
    return this.#options.ranks.get(left, right) ?? Number.POSITIVE_INFINITY
  }

  /** Returns the rank of the pair that begins at `at`. */
  #rankAt(ids: readonly number[], at: number): number {
    return this.#rank(defined(ids[at]), defined(ids[at + 1]))
  }

  /** Merges in place, and returns how many ids are left. */
  #scan(ids: number[]): number {
    const ranks = this.#ranks
    let length = ids.length
    for (let at = 0; at + 1 < length; at++) ranks[at] = this.#rankAt(ids, at)
    for (;;) {
      let best = Number.POSITIVE_INFINITY
      let where = -1
      for (let at = 0; at + 1 < length; at++)
        if (defined(ranks[at]) < best) {
          best = defined(ranks[at])
          where = at
        }
      if (where < 0) return length
      ids[where] = defined(this.#options.merged[best])
      length--
      for (let at = where + 1; at < length; at++) ids[at] = defined(ids[at + 1])
      for (let at = where + 1; at + 1 < length; at++) ranks[at] = defined(ranks[at + 1])
      if (where > 0) ranks[where - 1] = this.#rankAt(ids, where - 1)
      if (where + 1 < length) ranks[where] = this.#rankAt(ids, where)
    }
  }

  /**
   * Does the same with a heap of pairs, which skips pairs that have changed since they were pushed.
   */
  #heap(ids: number[]): number {
    const count = ids.length
    if (count >= positions) throw new RangeError(`a word of ${count} symbols; at most ${positions - 1}`)
    const next = new Int32Array(count)
    const previous = new Int32Array(count)
    const removed = new Uint8Array(count)
    const heap = new MinHeap()
    const offer = (left: number) => {
      const right = defined(next[left])
      if (right >= count) return
      const rank = this.#rank(defined(ids[left]), defined(ids[right]))
      if (rank < Number.POSITIVE_INFINITY) heap.push(rank * positions + left)
    }
    for (let at = 0; at < count; at++) {
      next[at] = at + 1
      previous[at] = at - 1
    }
    for (let at = 0; at + 1 < count; at++) offer(at)
    for (let key = heap.pop(); key !== undefined; key = heap.pop()) {
      const rank = Math.floor(key / positions)
      const left = key - rank * positions
      const right = defined(next[left])
      if (removed[left] === 1 || right >= count) continue
      if (this.#rank(defined(ids[left]), defined(ids[right])) !== rank) continue
      ids[left] = defined(this.#options.merged[rank])
      removed[right] = 1
      const after = defined(next[right])
      next[left] = after
      if (after < count) previous[after] = left
      const before = defined(previous[left])
      if (before >= 0) offer(before)
      offer(left)
    }
    let length = 0
    for (let at = 0; at < count; at = defined(next[at])) ids[length++] = defined(ids[at])
    return length
  }
}
