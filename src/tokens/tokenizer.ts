/** Text to token ids and back, over `@huggingface/tokenizers`. */
import { Tokenizer as Library } from '@huggingface/tokenizers'
import { ForetokenError } from '../errors.ts'
import type { TokenizerSpec } from '../types.ts'
import { type AddedToken, AddedTokens } from './added-tokens.ts'
import { Bpe, mergedIds } from './bpe.ts'
import { byteLevelBytes } from './byte-level.ts'
import { checkedSpec, checkVocabulary } from './checked-spec.ts'
import { encodeSteps, type Stages } from './encode.ts'
import { type BpeModel, type MergeRanks, mergePairs, useMerges } from './merges.ts'
import { Origin } from './origin.ts'
import { type Built, type PreTokenizer, preTokenizerOf } from './pre-tokenizer.ts'

export interface EncodeOptions {
  /** Read the text of special tokens as these tokens. Off for what a user wrote. Default off. */
  readonly special?: boolean
  /** Begin with the model's BOS token, if it wants one. Default off. */
  readonly bos?: boolean
  /** Stop as soon as there are more ids than this: then more than `most` are returned, and not all. Default: no limit. */
  readonly most?: number
}

export interface Tokenizer {
  readonly vocabSize: number
  encode(text: string, options?: EncodeOptions): number[]
  /** The same in steps of about a millisecond each. */
  encodeSteps(text: string, options?: EncodeOptions): Generator<void, number[], void>
  /** The ids of a text that holds marks of what a person wrote, see origin.ts: special tokens are found in the rest only. */
  encodeMarked(marked: string, options?: Omit<EncodeOptions, 'special'>): Generator<void, number[], void>
  /** Marks what a person wrote, so that it can't become a special token. */
  readonly origin: Origin
  /** Ids back to text, special tokens left out. */
  decode(ids: readonly number[]): string
  /** The bytes a token stands for, maybe no whole character; none for an id without a token. */
  tokenBytes(id: number): Uint8Array
  isSpecial(id: number): boolean
  idOf(token: string): number | undefined
}

/** Throws `bad_model` for a tokenizer that makes no sense or costs too much, `unsupported` for one that is not run. */
export function createTokenizer(unchecked: TokenizerSpec): Tokenizer {
  const spec = checkedSpec(unchecked)
  const { library, merges } = open(spec)
  const encoder = new TextEncoder()
  const added = library.get_added_tokens_decoder()
  const special = new Set([...added].filter(([, token]) => token.special).map(([id]) => id))
  const byteLevel = JSON.stringify([spec.json.pre_tokenizer, spec.json.decoder]).includes('"ByteLevel"')
  const model = library.model!
  checkVocabulary(model.tokens_to_ids)
  const bos = spec.addBos && spec.bosToken !== undefined ? library.token_to_id(spec.bosToken) : undefined
  const idOf = (token: string) => library.token_to_id(token)
  const stages = stagesOf(spec, library, merges)
  const { origin } = stages

  function* encodeMarked(marked: string, { bos: begins = false, most }: EncodeOptions = {}) {
    const ids: number[] = yield* encodeSteps(stages, marked, most)
    return begins && bos !== undefined && ids[0] !== bos ? [bos, ...ids] : ids
  }
  function steps(text: string, options: EncodeOptions = {}) {
    return encodeMarked(options.special ? text.toWellFormed() : origin.mark(text), options)
  }

  return {
    vocabSize: model.vocab.length,
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
      const token = library.id_to_token(id)
      if (token === undefined) return new Uint8Array(0)
      if (added.has(id)) return encoder.encode(token)
      if (byteLevel) return byteLevelBytes(token)
      const byte = /^<0x([0-9A-F]{2})>$/.exec(token)
      return byte ? Uint8Array.of(Number.parseInt(byte[1]!, 16)) : encoder.encode(token.replaceAll('▁', ' '))
    },
    isSpecial: (id) => special.has(id),
    idOf,
  }
}

/** Runs steps one after the other. */
export function toEnd<T>(steps: Generator<void, T, void>): T {
  for (;;) {
    const { done, value } = steps.next()
    if (done) return value
  }
}

interface Opened {
  readonly library: Library
  /** Of a BPE whose merges go by ids. */
  readonly merges: { readonly pairs: Uint32Array; readonly ranks: MergeRanks } | undefined
}

function open(spec: TokenizerSpec): Opened {
  try {
    const pairs = mergePairs(spec)
    if (!pairs) return { library: new Library(spec.json, spec.config), merges: undefined }
    // The library's own table of merges is never made: see `merges.ts`.
    const model: Record<string, unknown> = { ...(spec.json.model as object), merges: [] }
    const json = { ...spec.json, model }
    const library = new Library(json, spec.config)
    const ranks = useMerges(library.model as unknown as BpeModel, pairs)
    // It keeps what it was made from, and reads it no more.
    Object.assign(library, { tokenizer: {} })
    model.vocab = {}
    return { library, merges: { pairs, ranks } }
  } catch (cause) {
    throw new ForetokenError('bad_model', `the tokenizer can't be read: ${(cause as Error).message}`, { cause })
  }
}

function stagesOf(spec: TokenizerSpec, library: Library, merges: Opened['merges']): Stages {
  const normalize = library.normalizer ? (text: string): string => library.normalizer!(text) : undefined
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
    encodeWord: wordEncoder(spec, library, merges),
  }
}

/** The library types what it keeps of an added token more loosely than it is. */
function addedTokens(library: Library) {
  return library.get_added_tokens_decoder() as ReadonlyMap<
    number,
    Omit<AddedToken, 'singleWord'> & { readonly single_word: boolean; readonly normalized: boolean }
  >
}

function wordsOf(spec: TokenizerSpec, library: Library): PreTokenizer {
  try {
    const own = preTokenizerOf(
      spec.json.pre_tokenizer as Record<string, unknown> | null,
      library.pre_tokenizer as Built | null,
    )
    return own ?? ((text, start) => library.pre_tokenizer!(text, { section_index: start ? 0 : 1 }) as string[])
  } catch (cause) {
    throw new ForetokenError('bad_model', `the pre-tokenizer can't be read: ${(cause as Error).message}`, { cause })
  }
}

function wordEncoder(spec: TokenizerSpec, library: Library, merges: Opened['merges']): Stages['encodeWord'] {
  const model = library.model!
  const idOf = (token: string): number | undefined => library.token_to_id(token)
  const json = spec.json.model as Readonly<Record<string, unknown>>
  const affixes = [json.continuing_subword_prefix, json.end_of_word_suffix, json.continuing_subword_suffix]
  const merged =
    merges && affixes.every((affix) => !affix) ? mergedIds(merges.pairs, (id) => model.vocab[id], idOf) : undefined
  if (merges && merged) {
    const bpe = new Bpe({
      ranks: merges.ranks,
      merged,
      idOf,
      unknown: model.unk_token_id,
      fuseUnknown: json.fuse_unk === true,
      byteFallback: json.byte_fallback === true,
      ignoreMerges: json.ignore_merges === true,
    })
    return (word, into) => bpe.encode(word, into)
  }
  if ('cache' in model) (model as unknown as BpeModel).cache.capacity = 0
  return (word, into) => {
    for (const token of model([word])) into.push(idOf(token) ?? model.unk_token_id ?? unknown(token))
  }
}

function unknown(token: string): never {
  throw new ForetokenError(
    'bad_model',
    `the vocabulary has no token for ${JSON.stringify(token)}, and none for unknown text`,
  )
}
