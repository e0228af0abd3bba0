/** Converts between text and token ids, on top of `@huggingface/tokenizers`. */

import type { TokenizerSpec } from '../base/model.ts'
import type { Json } from '../model/json.ts'
import { byteLevelBytes } from './byte-level.ts'
import { checkedSpec } from './checked-spec.ts'
import type { MoreTokenizers } from './checked-steps.ts'
import { encodeSteps } from './encode.ts'
import { vocabularyOf } from './merges.ts'
import type { Origin } from './origin.ts'
import { openLibrary, stagesOf } from './stages.ts'

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
 * Creates a tokenizer. `more` has kinds that it may be of besides BPE. Throws `bad_model` for a spec that makes no sense or costs too much, and
 * `unsupported` for one that uses a feature that is not implemented.
 */
export function createTokenizer(unchecked: TokenizerSpec, more?: MoreTokenizers): Tokenizer {
  const spec = checkedSpec(unchecked, more)
  const model = spec.json.model as Json
  const vocabulary = more?.vocabulary?.(model) ?? vocabularyOf(spec)
  const { library, merges } = openLibrary(spec, vocabulary, model.type !== 'BPE')
  const added = library.get_added_tokens_decoder()
  const special = new Set([...added].filter(([, token]) => token.special).map(([id]) => id))
  const encodeOther = more?.encoder(model, vocabulary, special)
  const byteLevel = JSON.stringify([spec.json.pre_tokenizer, spec.json.decoder]).includes('"ByteLevel"')
  const addedIds = new Map([...added].map(([id, { content }]) => [content, id]))
  const idOf = (token: string) => addedIds.get(token) ?? vocabulary.idOf(token)
  const bos = spec.addBos && spec.bosToken !== undefined ? idOf(spec.bosToken) : undefined
  const stages = stagesOf(spec, library, vocabulary, merges, encodeOther, more)
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
