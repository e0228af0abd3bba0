/**
 * Byte-pair encoding of one word, by token ids: the pair of neighbours with the lowest rank is merged, the leftmost first, until no
 * pair merges. A word of n symbols takes O(n log n).
 *
 * Nothing is remembered from one word to the next: a cache of words would be shared by everybody who uses the model, and its times
 * would tell one what another has sent.
 */
import type { Vocabulary } from '../model/vocabulary.ts'
import type { MergeRanks } from './merges.ts'

export interface BpeOptions {
  readonly ranks: MergeRanks
  /** Id of the token that each merge makes, by rank. */
  readonly merged: Uint32Array
  readonly vocabulary: Pick<Vocabulary, 'find'>
  /** Id of a symbol that is no token; undefined where such symbols are dropped. */
  readonly unknown: number | undefined
  /** Neighbouring unknown symbols become one. */
  readonly fuseUnknown: boolean
  /** A symbol that is no token becomes its bytes' tokens, `<0x00>` to `<0xFF>`. */
  readonly byteFallback: boolean
  /** A word that is a token is that token, whatever the merges say. */
  readonly ignoreMerges: boolean
}

/** Below this a scan over all pairs is faster than a heap. */
const scanned = 48

/** Ranks and positions share a number that is exact: position in the low bits. */
const positions = 2 ** 22

export class Bpe {
  readonly #options: BpeOptions
  readonly #ids: number[] = []
  readonly #ranks: number[] = []

  constructor(options: BpeOptions) {
    this.#options = options
  }

  /** Appends the ids of `word` to `into`. */
  encode(word: string, into: number[]): void {
    const { ignoreMerges, vocabulary } = this.#options
    const whole = ignoreMerges ? vocabulary.find(word, 0, word.length) : undefined
    if (whole !== undefined) {
      into.push(whole)
      return
    }
    const ids = this.#symbols(word)
    const length = ids.length <= scanned ? this.#scan(ids) : this.#heap(ids)
    for (let at = 0; at < length; at++) into.push(ids[at]!)
    ids.length = 0
  }

  /** The word's characters as ids. */
  #symbols(word: string): number[] {
    const { vocabulary, unknown, fuseUnknown } = this.#options
    const ids = this.#ids
    let wasUnknown = false
    for (let from = 0; from < word.length; ) {
      const to = from + (word.codePointAt(from)! > 0xffff ? 2 : 1)
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

  /** Merges in place, and returns how many ids are left. */
  #scan(ids: number[]): number {
    const ranks = this.#ranks
    let length = ids.length
    for (let at = 0; at + 1 < length; at++) ranks[at] = this.#rank(ids[at]!, ids[at + 1]!)
    for (;;) {
      let best = Number.POSITIVE_INFINITY
      let where = -1
      for (let at = 0; at + 1 < length; at++)
        if (ranks[at]! < best) {
          best = ranks[at]!
          where = at
        }
      if (where < 0) return length
      ids[where] = this.#options.merged[best]!
      length--
      for (let at = where + 1; at < length; at++) {
        ids[at] = ids[at + 1]!
        ranks[at] = ranks[at + 1]!
      }
      if (where > 0) ranks[where - 1] = this.#rank(ids[where - 1]!, ids[where]!)
      if (where + 1 < length) ranks[where] = this.#rank(ids[where]!, ids[where + 1]!)
    }
  }

  /** The same with a heap of pairs; a pair that has changed since it was put there is passed over. */
  #heap(ids: number[]): number {
    const count = ids.length
    if (count >= positions) throw new RangeError(`a word of ${count} symbols; at most ${positions - 1}`)
    const next = new Int32Array(count)
    const previous = new Int32Array(count)
    const gone = new Uint8Array(count)
    const heap = new MinHeap()
    const offer = (left: number) => {
      const right = next[left]!
      if (right >= count) return
      const rank = this.#rank(ids[left]!, ids[right]!)
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
      const right = next[left]!
      if (gone[left] === 1 || right >= count || this.#rank(ids[left]!, ids[right]!) !== rank) continue
      ids[left] = this.#options.merged[rank]!
      gone[right] = 1
      next[left] = next[right]!
      if (next[left]! < count) previous[next[left]!] = left
      if (previous[left]! >= 0) offer(previous[left]!)
      offer(left)
    }
    let length = 0
    for (let at = 0; at < count; at = next[at]!) ids[length++] = ids[at]!
    return length
  }
}

class MinHeap {
  readonly #keys: number[] = []

  push(key: number): void {
    const keys = this.#keys
    let at = keys.push(key) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (keys[parent]! <= key) break
      keys[at] = keys[parent]!
      at = parent
    }
    keys[at] = key
  }

  pop(): number | undefined {
    const keys = this.#keys
    const least = keys[0]
    const last = keys.pop()
    if (keys.length === 0 || last === undefined) return least
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= keys.length) break
      if (child + 1 < keys.length && keys[child + 1]! < keys[child]!) child++
      if (keys[child]! >= last) break
      keys[at] = keys[child]!
      at = child
    }
    keys[at] = last
    return least
  }
}
