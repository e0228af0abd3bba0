/**
 * The merges of a BPE by token ids, in two arrays: `@huggingface/tokenizers` keeps them as lists of texts and as a map whose keys
 * are JSON, which for 49,000 merges is 10 MB of heap. An isolate of 128 MB has better uses for it.
 */
import type { TokenizerSpec } from '../types.ts'

/** What we use of the library's BPE model; its version is pinned. */
export interface BpeModel {
  tokens_to_ids: Map<string, number>
  merges: unknown[]
  bpe_ranks: Map<string, number>
  add_node(queue: { push(node: BpeNode): void }, node: BpeNode): void
  cache: { capacity: number }
}

/** A piece of a word, in the list of its pieces. */
interface BpeNode {
  readonly token: string
  readonly bias: number
  readonly next: { readonly token: string }
  score?: number
}

/** Ranks of pairs of ids, open addressing with a load of at most a half. */
export class MergeRanks {
  readonly #pairs: Uint32Array
  /** Rank + 1, 0 where there is none. */
  readonly #ranks: Uint32Array
  readonly #mask: number

  /** `pairs` (2 merges): ids of left and right, the first merge first. */
  constructor(pairs: Uint32Array) {
    const count = pairs.length >> 1
    const slots = 2 ** Math.ceil(Math.log2(Math.max(2, 2 * count)))
    this.#mask = slots - 1
    this.#pairs = new Uint32Array(2 * slots)
    this.#ranks = new Uint32Array(slots)
    for (let rank = 0; rank < count; rank++) {
      const [left, right] = [pairs[2 * rank]!, pairs[2 * rank + 1]!]
      const slot = this.#slot(left, right)
      // Of a doubled merge the last counts, as in the library's map.
      this.#pairs[2 * slot] = left
      this.#pairs[2 * slot + 1] = right
      this.#ranks[slot] = rank + 1
    }
  }

  /** Undefined for a pair that never merges. */
  get(left: number, right: number): number | undefined {
    const rank = this.#ranks[this.#slot(left, right)]!
    return rank === 0 ? undefined : rank - 1
  }

  /** Where the pair lies, or would. */
  #slot(left: number, right: number): number {
    let slot = (Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b)) & this.#mask
    while (this.#ranks[slot] !== 0 && (this.#pairs[2 * slot] !== left || this.#pairs[2 * slot + 1] !== right))
      slot = (slot + 1) & this.#mask
    return slot
  }
}

/**
 * A BPE's merges as pairs of ids, (2 merges); undefined for another kind of tokenizer, and where a merge names a text that is no
 * token: then it must be looked up by text.
 */
export function mergePairs({ json, mergeIds }: TokenizerSpec): Uint32Array | undefined {
  if (mergeIds) return mergeIds
  const { vocab, merges } = (json.model ?? {}) as { vocab?: Record<string, number>; merges?: unknown }
  if (!Array.isArray(merges) || typeof vocab !== 'object' || vocab === null) return undefined
  const ids = (text: unknown) => (typeof text === 'string' && Object.hasOwn(vocab, text) ? vocab[text] : undefined)
  const pairs = new Uint32Array(2 * merges.length)
  for (let rank = 0; rank < merges.length; rank++) {
    const merge: unknown = merges[rank]
    const [left, right] = typeof merge === 'string' ? merge.split(' ', 2) : Array.isArray(merge) ? merge : []
    const [a, b] = [ids(left), ids(right)]
    if (!isId(a) || !isId(b)) return undefined
    pairs[2 * rank] = a
    pairs[2 * rank + 1] = b
  }
  return pairs
}

/**
 * Lets a model that was made without merges find them in `pairs`; returns their ranks. It remembers no words: what one tenant sent must not
 * make another's requests faster.
 */
export function useMerges(model: BpeModel, pairs: Uint32Array): MergeRanks {
  const ranks = new MergeRanks(pairs)
  model.cache.capacity = 0
  model.add_node = (queue, node) => {
    const left = model.tokens_to_ids.get(node.token)
    const right = model.tokens_to_ids.get(node.next.token)
    const rank = left === undefined || right === undefined ? undefined : ranks.get(left, right)
    if (rank === undefined) return
    node.score = rank + node.bias
    queue.push(node)
  }
  return ranks
}

function isId(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 32
}
