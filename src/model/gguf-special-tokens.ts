/** Reads the special and added tokens of a GGUF's vocabulary. */

import { defined } from '../base/at.ts'
import { ForetokenError } from '../base/errors.ts'
import type { PackedTexts } from '../base/model.ts'
import { isWhole } from '../base/numbers.ts'
import type { MetadataReader } from './metadata.ts'
import { textAt } from './packed-texts.ts'

/** Token types of ggml. */
export const [unknown, control, userDefined, unused] = [2, 3, 4, 5]

/** Tokens that end a turn by convention, for files that name only the end of a text. */
export const endOfTurn = [
  '<|im_end|>',
  '<|eot_id|>',
  '<|eom_id|>',
  '<|end|>',
  '<|end_of_text|>',
  '<|end_of_turn|>',
  '<end_of_turn>',
  '<|endoftext|>',
  '<end_of_utterance>',
  '<EOT>',
  '<\uff5cend\u2581of\u2581sentence\uff5c>',
]

/**
 * Returns the ids of special tokens. SentencePiece's defaults replace those that the file omits.
 */
export function specialIds(metadata: MetadataReader, tokens: number, model: string) {
  const id = (name: string, otherwise?: number) => {
    const key = `tokenizer.ggml.${name}_token_id`
    const found = metadata.optionalNumber(key)
    if (found === undefined) {
      const has = model === 'llama' && otherwise !== undefined && otherwise < tokens
      return has ? otherwise : undefined
    }
    if (isWhole(found, 0, tokens - 1)) return found
    throw new ForetokenError(
      'bad_model',
      `${metadata.where}: ${key} is ${found}, outside its ${tokens} tokens (tokenizer.ggml.tokens)`,
    )
  }
  // The tokens for the text before a gap, the text after it, and its filling. Older files use the
  // shorter names.
  const gap = [
    ['fim_pre', 'prefix'],
    ['fim_suf', 'suffix'],
    ['fim_mid', 'middle'],
  ].map(([name, older]) => id(defined(name)) ?? id(defined(older)))
  return { unknown: id('unknown', 0), bos: id('bos', 1), eos: id('eos', 2), eot: id('eot'), eom: id('eom'), gap }
}

/** Returns `fim_tokens`, the texts of the three tokens for a gap, if the file names all of them. */
export function gapTokens(
  gap: readonly (number | undefined)[],
  tokens: PackedTexts,
): { fim_tokens?: (string | undefined)[] } {
  return gap.some((id) => id === undefined) ? {} : { fim_tokens: gap.map((id) => textAt(tokens, defined(id))) }
}

/** Returns the control, user-defined and unknown tokens as `added_tokens` of a tokenizer.json. */
export function addedTokens(tokens: PackedTexts, types: ArrayLike<number>) {
  const added = []
  for (let id = 0; id < Math.min(types.length, tokens.ends.length); id++)
    if (types[id] === control || types[id] === userDefined || types[id] === unknown)
      added.push({
        id,
        content: defined(textAt(tokens, id)),
        special: types[id] !== userDefined,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
      })
  return added
}
