/** Converts between text and token ids, on top of `@huggingface/tokenizers`. */
import { Tokenizer as Library } from '@huggingface/tokenizers'
import { at } from '../base/at.ts'
import { ForetokenError } from '../base/errors.ts'
import type { TokenizerSpec } from '../base/model.ts'
import { isObject } from '../model/json.ts'
import { type Vocabulary, vocabOf } from '../model/vocabulary.ts'
import { type AddedToken, AddedTokens } from './added-tokens.ts'
import { Bpe } from './bpe.ts'
import { byteLevelBytes } from './byte-level.ts'
import { checkedSpec } from './checked-spec.ts'
import { encodeSteps, type Stages } from './encode.ts'
import { MergeRanks, mergedIds, mergePairs, vocabularyOf } from './merges.ts'
import { Origin } from './origin.ts'
import { type Built, type PreTokenizer, preTokenizerOf } from './pre-tokenizer.ts'

const encoder = new TextEncoder()

/** How a text is encoded. */
export interface EncodeOptions {
  /** Recognizes special tokens in the text. Leave it off for user text. Default off. */
  readonly special?: boolean
  /** Prepends the model's BOS token, if the model uses one. Default off. */
  readonly bos?: boolean
  /**
   * Stops as soon as there are more ids than this: the result is then longer than `most`, and
   * incomplete. Default: no limit.
   */
  readonly most?: number
}

/** Converts between text and token ids. */
export interface Tokenizer {
  readonly vocabSize: number
  encode(text: string, options?: EncodeOptions): number[]
  /** Encodes in steps, yielding about once a millisecond. */
  encodeSteps(text: string, options?: EncodeOptions): Generator<void, number[], void>
  /**
   * Encodes a text with marked user text (see origin.ts) in steps: special tokens are found in the
   * rest only.
   */
  encodeMarked(marked: string, options?: Omit<EncodeOptions, 'special'>): Generator<void, number[], void>
  /** Marks user text, so that it can't become a special token. */
  readonly origin: Origin
  /** Converts ids back to text, without special tokens. */
  decode(ids: readonly number[]): string
  /**
   * Returns the bytes of a token, which may not form whole characters; empty for an id without a
   * token.
   */
  tokenBytes(id: number): Uint8Array
  isSpecial(id: number): boolean
  idOf(token: string): number | undefined
}

/**
 * Creates a tokenizer. Throws `bad_model` for a spec that makes no sense or costs too much, and
 * `unsupported` for one that uses a feature that is not implemented.
 */
export function createTokenizer(unchecked: TokenizerSpec): Tokenizer {
  const spec = checkedSpec(unchecked)
  const vocabulary = vocabularyOf(spec)
  const { library, merges } = open(spec, vocabulary)
  const added = library.get_added_tokens_decoder()
  const special = new Set([...added].filter(([, token]) => token.special).map(([id]) => id))
  const byteLevel = JSON.stringify([spec.json.pre_tokenizer, spec.json.decoder]).includes('"ByteLevel"')
  const addedIds = new Map([...added].map(([id, { content }]) => [content, id]))
  const idOf = (token: string) => addedIds.get(token) ?? vocabulary.idOf(token)
  const bos = spec.addBos && spec.bosToken !== undefined ? idOf(spec.bosToken) : undefined
  const stages = stagesOf(spec, library, vocabulary, merges)
  const { origin } = stages

  function* encodeMarked(marked: string, { bos: begins = false, most }: EncodeOptions = {}) {
    const ids: number[] = yield* encodeSteps(stages, marked, most)
    return begins && bos !== undefined && ids[0] !== bos ? [bos, ...ids] : ids
  }
  function steps(text: string, options: EncodeOptions = {}) {
    return encodeMarked(options.special ? text.toWellFormed() : origin.mark(text), options)
  }

  return {
    vocabSize: [...added.keys()].reduce((size, id) => Math.max(size, id + 1), vocabulary.size),
    origin,
    encode: (text, options) => toEnd(steps(text, options)),
    encodeSteps: steps,
    encodeMarked,
    decode(ids) {
      const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
      const text = ids
        .filter((id) => !special.has(id))
        .map((id) => decoder.decode(this.tokenBytes(id), { stream: true }))
      return text.join('') + decoder.decode()
    },
    tokenBytes(id) {
      const addedToken = added.get(id)
      if (addedToken) return encoder.encode(addedToken.content)
      const token = vocabulary.textOf(id)
      if (token === undefined) return new Uint8Array(0)
      return byteLevel ? byteLevelBytes(token) : sentencePieceBytes(token)
    },
    isSpecial: (id) => special.has(id),
    idOf,
  }
}

function sentencePieceBytes(token: string): Uint8Array {
  const [, hex] = /^<0x([0-9A-F]{2})>$/.exec(token) ?? []
  return hex ? Uint8Array.of(Number.parseInt(hex, 16)) : encoder.encode(token.replaceAll('▁', ' '))
}

/** Runs a generator to its end, and returns its result. */
export function toEnd<T>(steps: Generator<void, T, void>): T {
  for (;;) {
    const { done, value } = steps.next()
    if (done) return value
  }
}

/** The tables for merging by ids. */
interface Merges {
  readonly pairs: Uint32Array
  /** The token that each pair produces. */
  readonly merged: Uint32Array
}

interface Opened {
  readonly library: Library
  /** Undefined if a merge involves a text that is not a token: the library then merges by text. */
  readonly merges: Merges | undefined
}

function open(spec: TokenizerSpec, vocabulary: Vocabulary): Opened {
  try {
    const { config } = spec
    const model = spec.json.model as Record<string, unknown>
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

function stagesOf(spec: TokenizerSpec, library: Library, vocabulary: Vocabulary, merges: Merges | undefined): Stages {
  const { normalizer } = library
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
    encodeWord: merges ? byIds(spec, vocabulary, merges) : byLibrary(library, vocabulary),
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
