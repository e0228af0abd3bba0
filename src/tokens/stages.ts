/**
 * Builds the stages of encoding from a checked tokenizer.json, with what `@huggingface/tokenizers`
 * has of them.
 */
import { Tokenizer as Library } from '@huggingface/tokenizers'
import { at } from '../base/at.ts'
import { ForetokenError } from '../base/errors.ts'
import type { TokenizerSpec } from '../base/model.ts'
import { isObject, type Json } from '../model/json.ts'
import { vocabOf } from '../model/tokenizer-json.ts'
import type { Vocabulary } from '../model/vocabulary.ts'
import { type AddedToken, AddedTokens } from './added-tokens.ts'
import { Bpe } from './bpe.ts'
import type { MoreTokenizers } from './checked-steps.ts'
import type { Stages } from './encode.ts'
import { MergeRanks } from './merge-ranks.ts'
import { mergedIds, mergePairs } from './merges.ts'
import { Origin } from './origin.ts'
import { type Built, preTokenizerOf } from './pre-tokenizer.ts'
import type { PreTokenizer } from './splitting.ts'

/** The tables for merging by ids. */
interface Merges {
  readonly pairs: Uint32Array
  /** The token that each pair produces. */
  readonly merged: Uint32Array
}

/** A model for a library whose own is not used. */
const noModel = { type: 'BPE', vocab: {}, merges: [] }

interface Opened {
  readonly library: Library
  /** Undefined if a merge involves a text that is not a token: the library then merges by text. */
  readonly merges: Merges | undefined
}

/**
 * Opens the library, without its own tables if they are not used, as for the model of an `other` kind.
 * Throws `bad_model`.
 */
export function openLibrary(spec: TokenizerSpec, vocabulary: Vocabulary, other: boolean): Opened {
  try {
    const { config } = spec
    const model = spec.json.model as Record<string, unknown>
    if (other) {
      return { library: new Library({ ...spec.json, model: noModel }, config), merges: undefined }
    }
    const pairs = mergePairs(spec, vocabulary)
    const merged = pairs && mergedIds(pairs, vocabulary)
    // The library's own tables hold an object for each token and merge, so they are built only if
    // used.
    if (merged) {
      const json = { ...spec.json, model: { ...model, vocab: {}, merges: [] } }
      return { library: new Library(json, config), merges: { pairs, merged } }
    }
    const byText = { ...spec.json, model: { ...model, ...textsOf(spec, vocabulary) } }
    return { library: new Library(byText, config), merges: undefined }
  } catch (cause) {
    throw new ForetokenError('bad_model', `the tokenizer can't be read: ${(cause as Error).message}`, { cause })
  }
}

/** Returns vocabulary and merges in the form that the library takes. */
function textsOf({ vocabulary: packed, mergeIds }: TokenizerSpec, vocabulary: Vocabulary): object {
  if (!packed || !mergeIds) return {}
  const merges = Array.from({ length: mergeIds.length >> 1 }, (_, rank) => [
    vocabulary.textOf(at(mergeIds, 2 * rank)),
    vocabulary.textOf(at(mergeIds, 2 * rank + 1)),
  ])
  return { vocab: vocabOf(packed, vocabulary), merges }
}

/** Returns the stages of a tokenizer that `openLibrary` has opened; `other` encodes the words of another kind. */
export function stagesOf(
  spec: TokenizerSpec,
  library: Library,
  vocabulary: Vocabulary,
  merges: Merges | undefined,
  other: Stages['encodeWord'] | undefined,
  more: MoreTokenizers | undefined,
): Stages {
  const normalizer = more?.normalize?.(spec.json.normalizer as Json | null) ?? library.normalizer
  const normalize = normalizer ? (text: string): string => normalizer(text) : undefined
  const before: [string, AddedToken][] = []
  const after: [string, AddedToken][] = []
  const apart: [string, AddedToken][] = []
  for (const [id, { content, special, lstrip, rstrip, single_word: singleWord, normalized }] of addedTokens(library)) {
    const token = { id, content, special, lstrip, rstrip, singleWord }
    if (!normalized || !normalize) before.push([content, token])
    else {
      after.push([normalize(content), token])
      if (special) apart.push([content, token])
    }
  }
  const guarded = [...before, ...after]
    .filter(([, token]) => token.special)
    .flatMap(([text, { content }]) => [text, content])
  const origin = new Origin(guarded)
  return {
    origin,
    before: new AddedTokens(before, origin),
    after: after.length > 0 ? new AddedTokens(after, origin) : undefined,
    apart: apart.length > 0 ? new AddedTokens(apart, origin) : undefined,
    normalize,
    words: wordsOf(spec, library),
    encodeWord: other ?? (merges ? byIds(spec, vocabulary, merges) : byLibrary(library, vocabulary)),
  }
}

/** Returns the library's added tokens, which it types more loosely than they are. */
function addedTokens(library: Library) {
  return library.get_added_tokens_decoder() as ReadonlyMap<
    number,
    Omit<AddedToken, 'singleWord'> & { readonly single_word: boolean; readonly normalized: boolean }
  >
}

function wordsOf(spec: TokenizerSpec, library: Library): PreTokenizer {
  const { pre_tokenizer: builtIn } = library
  try {
    const words = preTokenizerOf(spec.json.pre_tokenizer as Record<string, unknown> | null, builtIn as Built | null)
    if (words) return words
    if (!builtIn) throw new Error('its type is not known')
    return (text, start) => builtIn(text, { section_index: start ? 0 : 1 }) as string[]
  } catch (cause) {
    throw new ForetokenError('bad_model', `the pre-tokenizer can't be read: ${(cause as Error).message}`, { cause })
  }
}

function byIds(spec: TokenizerSpec, vocabulary: Vocabulary, { pairs, merged }: Merges): Stages['encodeWord'] {
  const model = spec.json.model as Readonly<Record<string, unknown>>
  const bpe = new Bpe({
    ranks: new MergeRanks(pairs),
    merged,
    vocabulary,
    unknown: typeof model.unk_token === 'string' ? vocabulary.idOf(model.unk_token) : undefined,
    fuseUnknown: model.fuse_unk === true,
    byteFallback: model.byte_fallback === true,
    ignoreMerges: model.ignore_merges === true,
  })
  return (word, into) => bpe.encode(word, into)
}

function byLibrary({ model }: Library, vocabulary: Vocabulary): Stages['encodeWord'] {
  // No word is cached: what one tenant sent must not make another's requests faster.
  if (!model || !('cache' in model) || !isObject(model.cache))
    throw new ForetokenError('internal', 'the tokenizer library has no cache where one is to be turned off')
  Object.assign(model.cache, { capacity: 0 })
  return (word, into) => {
    for (const token of model([word])) into.push(vocabulary.idOf(token) ?? model.unk_token_id ?? unknown(token))
  }
}

function unknown(token: string): never {
  throw new ForetokenError(
    'bad_model',
    `the vocabulary has no token for ${JSON.stringify(token)}, and none for unknown text`,
  )
}
