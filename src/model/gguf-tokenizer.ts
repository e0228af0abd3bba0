/** Converts the vocabulary in a GGUF's metadata into the form of Hugging Face's tokenizer.json. */

import { defined } from '../base/at.ts'
import { ForetokenError } from '../base/errors.ts'
import type { PackedTexts, PackedVocabulary, TokenizerSpec } from '../base/model.ts'
import { byteLevel, preKey, preTokenizerOf } from './gguf-byte-level.ts'
import { sentencePiece } from './gguf-sentencepiece.ts'
import { addedTokens, endOfTurn, gapTokens, specialIds, unused } from './gguf-special-tokens.ts'
import { show } from './json.ts'
import { limits } from './limits.ts'
import type { MetadataReader } from './metadata.ts'
import { packTexts, textAt } from './packed-texts.ts'
import { preTokenizers } from './pre-tokenizers.ts'
import { packVocabulary, Vocabulary } from './vocabulary.ts'

const typesKey = 'tokenizer.ggml.token_type'

export interface GgufTokenizer {
  readonly spec: TokenizerSpec
  /** Yields the ids that have a token. A doubled token keeps its first id. */
  readonly ids: readonly number[]
  readonly warnings: readonly string[]
}

/**
 * Reads the tokenizer. `rows` is the number of rows of the embedding. Throws `bad_model` for a
 * vocabulary that is malformed or larger than that, and `unsupported` for another kind of
 * tokenizer.
 */
export async function readGgufTokenizer(metadata: MetadataReader, rows: number): Promise<GgufTokenizer> {
  const model = metadata.text('tokenizer.ggml.model')
  if (model !== 'gpt2' && model !== 'llama')
    throw new ForetokenError(
      'unsupported',
      `${metadata.where}: tokenizer ${show(model)} (tokenizer.ggml.model); gpt2 (byte-level BPE) and llama (SentencePiece) are read`,
    )
  const named = metadata.count('tokenizer.ggml.tokens') ?? 0
  if (named > rows)
    throw new ForetokenError(
      'bad_model',
      `${metadata.where} has ${named} tokens, and its embedding ${rows} rows: the tokenizer is not this model's`,
    )
  const types = (await metadata.optionalNumbers(typesKey, limits.tokens)) ?? []
  if (types.length > 0 ? types.length !== named : metadata.value(typesKey) !== undefined)
    throw new ForetokenError(
      'bad_model',
      `${metadata.where}: ${typesKey} has ${types.length} entries for ${named} tokens (tokenizer.ggml.tokens)`,
    )
  const tokens = withoutPadding(await metadata.texts('tokenizer.ggml.tokens', limits.tokens, limits.token), types)
  const packed = packVocabulary(tokens)
  const vocabulary = new Vocabulary(packed)
  const warnings: string[] = []
  const special = specialIds(metadata, packed.ends.length, model)
  const text = (id: number | undefined) => (id === undefined ? undefined : textAt(packed, id))
  const { mergeIds, ...json } =
    model === 'gpt2'
      ? await byteLevel(metadata, preTokenizerOf(metadata, warnings), packed, vocabulary)
      : await sentencePiece(metadata, packed, vocabulary, text(special.unknown ?? 0) ?? null)
  const { bos, eos } = special
  const ends = [eos, special.eot, special.eom].filter((id) => id !== undefined)
  const added = addedTokens(packed, types)
  for (const name of endOfTurn) {
    const id = added.find((entry) => entry.content === name)?.id
    if (id !== undefined) ends.push(id)
  }
  if (ends.length === 0)
    warnings.push(`${metadata.where} does not say which token ends an answer: answers run to their limit`)
  const begins = model === 'llama' || (preTokenizers.get(metadata.optionalText(preKey) ?? '')?.addBos ?? false)
  const spec = {
    json: { version: '1.0', added_tokens: added, ...json, post_processor: null },
    ...(mergeIds && { vocabulary: packed, mergeIds }),
    config: gapTokens(special.gap, tokens),
    // An empty one would make every prompt empty.
    chatTemplate: metadata.optionalText('tokenizer.chat_template') || undefined,
    bosToken: text(bos),
    eosToken: text(eos),
    eosIds: [...new Set(ends)],
    addBos: metadata.optionalFlag('tokenizer.ggml.add_bos_token') ?? begins,
  }
  const ids = idsOf(packed, vocabulary)
  for (const { id } of added) ids.push(id)
  return { spec, ids, warnings }
}

/** Replaces the texts that converters invent for rows without a token with empty ones. */
function withoutPadding(tokens: PackedTexts, types: ArrayLike<number>): PackedTexts {
  const isPadding = (id: number) => types[id] === unused && textAt(tokens, id) === `[PAD${id}]`
  let padded = false
  for (let id = 0; id < tokens.ends.length && !padded; id++) padded = isPadding(id)
  return padded ? packTexts(Array.from(tokens.ends, (_, id) => (isPadding(id) ? '' : textAt(tokens, id)))) : tokens
}

/** Yields the ids that have a token. A doubled token keeps its first id. */
function idsOf({ ends, text }: PackedVocabulary, vocabulary: Vocabulary): number[] {
  const ids: number[] = []
  for (let id = 0, from = 0; id < ends.length; from = defined(ends[id++]))
    if (vocabulary.find(text, from, defined(ends[id])) === id) ids.push(id)
  return ids
}
