import { defined } from '../base/at.ts'
import { ForetokenError } from '../base/errors.ts'

/**
 * Most slots that a look-up may visit. Tables of published merges need less than 30; more means
 * that the pairs were chosen to collide.
 */
const longestRun = 1024

/** Ranks of pairs of ids: a hash table with open addressing and a load of at most a half. */
export class MergeRanks {
  /**
   * Left, right and rank + 1 of each slot, 0 if it is empty: adjacent, since they are read
   * together.
   */
  readonly #places: Uint32Array
  readonly #mask: number

  /**
   * `pairs` (2 merges) holds the ids of left and right, in order of rank. Throws `bad_model` for
   * pairs chosen to make look-ups slow.
   */
  constructor(pairs: Uint32Array) {
    const count = pairs.length >> 1
    const slots = 2 ** Math.ceil(Math.log2(Math.max(2, 2 * count)))
    this.#mask = slots - 1
    this.#places = new Uint32Array(4 * slots)
    const places = this.#places
    for (let rank = 0; rank < count; rank++) {
      const left = defined(pairs[2 * rank])
      const right = defined(pairs[2 * rank + 1])
      const at = this.#place(left, right)
      // The last of duplicate merges counts, as in the library's map.
      places[at] = left
      places[at + 1] = right
      places[at + 2] = rank + 1
    }
  }

  /** Returns the rank of a pair, or undefined if it never merges. */
  get(left: number, right: number): number | undefined {
    const rank = defined(this.#places[this.#place(left, right) + 2])
    return rank === 0 ? undefined : rank - 1
  }

  /** Returns the index at which the pair is stored, or would be. */
  #place(left: number, right: number): number {
    const places = this.#places
    const hashed = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b)
    let slot = (hashed ^ (hashed >>> 15)) & this.#mask
    for (let run = 0; ; run++, slot = (slot + 1) & this.#mask) {
      const at = 4 * slot
      if (places[at + 2] === 0 || (places[at] === left && places[at + 1] === right)) return at
      if (run > longestRun)
        throw new ForetokenError('bad_model', 'the merges were chosen so that finding one takes long')
    }
  }
}
