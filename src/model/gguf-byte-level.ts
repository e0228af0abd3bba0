/** Reads a byte-level BPE of a GGUF: its merges, and how text is cut before them. */

import { defined } from '../base/at.ts'
import { ForetokenError } from '../base/errors.ts'
import type { PackedVocabulary } from '../base/model.ts'
import { show } from './json.ts'
import { limits } from './limits.ts'
import type { MetadataReader } from './metadata.ts'
import { textAt } from './packed-texts.ts'
import { defaultPreTokenizer, type PreTokenizer, preTokenizers } from './pre-tokenizers.ts'
import { vocabOf } from './tokenizer-json.ts'
import type { Parts } from './tokenizer-parts.ts'
import type { Vocabulary } from './vocabulary.ts'

/** The metadata key that names the pre-tokenizer. */
export const preKey = 'tokenizer.ggml.pre'

/** Returns the pre-tokenizer of the file. Throws `unsupported` for an unknown name. */
export function preTokenizerOf(metadata: MetadataReader, warnings: string[]): PreTokenizer {
  const name = metadata.optionalText(preKey)
  if (name === undefined || name === '' || name === 'default') {
    const what = name === undefined ? `has no ${preKey}` : `has the ${preKey} ${show(name)}`
    warnings.push(
      `${metadata.where} ${what}: text is cut as llama.cpp does by default, which may not be what the model was made with; convert it anew`,
    )
    return defaultPreTokenizer
  }
  const known = preTokenizers.get(name)
  if (known) return known
  throw new ForetokenError(
    'unsupported',
    `${metadata.where}: pre-tokenizer ${show(name)} (${preKey}); ${[...preTokenizers.keys()].join(', ')} are known`,
  )
}

/** Returns the parts of a byte-level BPE. Throws `bad_model` for a malformed merge. */
export async function byteLevel(
  metadata: MetadataReader,
  { json, ignoreMerges = false, compose = false }: PreTokenizer,
  packed: PackedVocabulary,
  vocabulary: Vocabulary,
): Promise<Parts> {
  const { text, ends } = await metadata.texts('tokenizer.ggml.merges', limits.merges, 2 * limits.token)
  const mergeIds = new Uint32Array(2 * ends.length)
  let byText: [string, string][] | undefined
  for (let rank = 0, from = 0; rank < ends.length; rank++) {
    const to = defined(ends[rank])
    // The first letter may itself be a space: most files write it as "Ġ", but others differ.
    let between = from + 1
    while (between < to && text.charCodeAt(between) !== 0x20) between++
    if (between >= to)
      throw new ForetokenError(
        'bad_model',
        `${metadata.where}: the merge ${show(text.slice(from, to))} does not have two parts (tokenizer.ggml.merges)`,
      )
    const left = vocabulary.find(text, from, between)
    const right = vocabulary.find(text, between + 1, to)
    if (left === undefined || right === undefined) byText ??= []
    mergeIds[2 * rank] = left ?? 0
    mergeIds[2 * rank + 1] = right ?? 0
    from = to
  }
  // A merge with a part that is not a token can only be written as text.
  if (byText)
    for (let rank = 0; rank < ends.length; rank++) {
      const merge = defined(textAt({ text, ends }, rank))
      const between = merge.indexOf(' ', 1)
      byText.push([merge.slice(0, between), merge.slice(between + 1)])
    }
  const texts = byText && { vocab: vocabOf(packed, vocabulary), merges: byText }
  return {
    mergeIds: texts ? undefined : mergeIds,
    normalizer: compose ? { type: 'NFC' } : null,
    pre_tokenizer: json,
    decoder: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    model: { type: 'BPE', ...texts, unk_token: null, byte_fallback: false, ignore_merges: ignoreMerges },
  }
}
