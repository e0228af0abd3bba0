/** Text to token ids and back, over `@huggingface/tokenizers`. */
import { Tokenizer as Library } from '@huggingface/tokenizers'
import { ForetokenError } from '../errors.ts'
import type { TokenizerSpec } from '../types.ts'
import { byteLevelBytes } from './byte-level.ts'
import { checkedSpec, checkVocabulary } from './checked-spec.ts'
import { type BpeModel, mergePairs, useMerges } from './merges.ts'

export interface EncodeOptions {
  /** Read the text of special tokens as these tokens. Off for what a user wrote. Default off. */
  readonly special?: boolean
  /** Begin with the model's BOS token, if it wants one. Default off. */
  readonly bos?: boolean
}

export interface Tokenizer {
  readonly vocabSize: number
  encode(text: string, options?: EncodeOptions): number[]
  /** Ids back to text, special tokens left out. */
  decode(ids: readonly number[]): string
  /** The bytes a token stands for, maybe no whole character; none for an id without a token. */
  tokenBytes(id: number): Uint8Array
  isSpecial(id: number): boolean
  idOf(token: string): number | undefined
  /** Texts that `special` reads as tokens. */
  readonly specialTexts: readonly string[]
}

/** Throws `bad_model` for a tokenizer that makes no sense or costs too much, `unsupported` for one that is not run. */
export function createTokenizer(unchecked: TokenizerSpec): Tokenizer {
  const spec = checkedSpec(unchecked)
  const library = open(spec)
  const encoder = new TextEncoder()
  const added = library.get_added_tokens_decoder()
  const special = new Set([...added].filter(([, token]) => token.special).map(([id]) => id))
  const byteLevel = JSON.stringify([spec.json.pre_tokenizer, spec.json.decoder]).includes('"ByteLevel"')
  const model = library.model!
  checkVocabulary(model.tokens_to_ids)
  const bos = spec.addBos && spec.bosToken !== undefined ? library.token_to_id(spec.bosToken) : undefined

  /** The model's own path, without the search for added tokens. */
  const plain = (text: string): number[] => {
    if (text.length === 0) return []
    const normal: string = library.normalizer ? library.normalizer(text) : text
    const words = library.pre_tokenizer ? library.pre_tokenizer(normal, { section_index: 0 }) : [normal]
    return model(words).map((token: string) => idOf(token) ?? model.unk_token_id ?? unknown(token))
  }
  const idOf = (token: string) => library.token_to_id(token)

  return {
    vocabSize: model.vocab.length,
    specialTexts: [...added.values()].map((token) => token.content),
    encode(text, options = {}) {
      const valid = text.toWellFormed()
      const ids = options.special ? library.encode(valid, { add_special_tokens: false }).ids : plain(valid)
      return options.bos && bos !== undefined ? [bos, ...ids] : ids
    },
    decode(ids) {
      const decoder = new TextDecoder()
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

function open(spec: TokenizerSpec): Library {
  try {
    const pairs = mergePairs(spec)
    if (!pairs) return new Library(spec.json, spec.config)
    // The library's own table of merges is never made: see `merges.ts`.
    const model: Record<string, unknown> = { ...(spec.json.model as object), merges: [] }
    const json = { ...spec.json, model }
    const library = new Library(json, spec.config)
    useMerges(library.model as unknown as BpeModel, pairs)
    // It keeps what it was made from, and reads it no more.
    Object.assign(library, { tokenizer: {} })
    model.vocab = {}
    return library
  } catch (cause) {
    throw new ForetokenError('bad_model', `the tokenizer can't be read: ${(cause as Error).message}`, { cause })
  }
}

function unknown(token: string): never {
  throw new ForetokenError(
    'bad_model',
    `the vocabulary has no token for ${JSON.stringify(token)}, and none for unknown text`,
  )
}
