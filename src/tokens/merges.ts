/**
 * Stores the merges of a BPE by token ids in two arrays. `@huggingface/tokenizers` keeps them as
 * lists of texts and as a map whose keys are JSON, which takes 10 MB of heap for 49,000 merges: too
 * much for an isolate of 128 MB.
 */
import { defined } from '../base/at.ts'
import { ForetokenError } from '../base/errors.ts'
import type { TokenizerSpec } from '../base/model.ts'
import { packedVocabularyOf, Vocabulary } from '../model/vocabulary.ts'

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

/** Returns the tokens of a BPE. Throws `bad_model` for an invalid vocabulary. */
export function vocabularyOf({ json, vocabulary }: TokenizerSpec): Vocabulary {
  const { vocab } = (json.model ?? {}) as { vocab?: Record<string, unknown> }
  return new Vocabulary(vocabulary ?? packedVocabularyOf(vocab ?? {}))
}

/**
 * Returns a BPE's merges as pairs of ids, (2 merges). Returns undefined for another kind of
 * tokenizer, and if a merge names a text that is not a token, since it then has to be looked up by
 * text.
 */
export function mergePairs(spec: TokenizerSpec, vocabulary = vocabularyOf(spec)): Uint32Array | undefined {
  if (spec.mergeIds) return spec.mergeIds
  const { merges } = (spec.json.model ?? {}) as { merges?: unknown }
  if (!Array.isArray(merges)) return undefined
  const pairs = new Uint32Array(2 * merges.length)
  for (let rank = 0; rank < merges.length; rank++) {
    const merge: unknown = merges[rank]
    let left: number | undefined
    let right: number | undefined
    if (typeof merge === 'string') {
      const between = merge.indexOf(' ')
      const second = merge.indexOf(' ', between + 1)
      left = between < 0 ? undefined : vocabulary.find(merge, 0, between)
      right = vocabulary.find(merge, between + 1, second < 0 ? merge.length : second)
    } else if (Array.isArray(merge) && typeof merge[0] === 'string' && typeof merge[1] === 'string') {
      left = vocabulary.idOf(merge[0])
      right = vocabulary.idOf(merge[1])
    }
    if (left === undefined || right === undefined) return undefined
    pairs[2 * rank] = left
    pairs[2 * rank + 1] = right
  }
  return pairs
}

/**
 * Returns the id of the token that each merge produces, by rank; undefined if one produces no
 * token. `pairs`: (2 merges).
 */
export function mergedIds(pairs: Uint32Array, vocabulary: Vocabulary): Uint32Array | undefined {
  const merged = new Uint32Array(pairs.length >> 1)
  for (let rank = 0; rank < merged.length; rank++) {
    const id = vocabulary.findJoined(defined(pairs[2 * rank]), defined(pairs[2 * rank + 1]))
    if (id === undefined) return undefined
    merged[rank] = id
  }
  return merged
}
