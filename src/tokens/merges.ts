/**
 * Stores the merges of a BPE by token ids in two arrays. `@huggingface/tokenizers` keeps them as
 * lists of texts and as a map whose keys are JSON, which takes 10 MB of heap for 49,000 merges: too
 * much for an isolate of 128 MB.
 */

import { defined } from '../base/at.ts'
import type { TokenizerSpec } from '../base/model.ts'
import { packedVocabularyOf } from '../model/tokenizer-json.ts'
import { Vocabulary } from '../model/vocabulary.ts'

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
