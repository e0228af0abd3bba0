/** Converts between packed vocabularies and the form of tokenizer.json. */

import { defined } from '../base/at.ts'
import { ForetokenError } from '../base/errors.ts'
import type { PackedVocabulary, TokenizerSpec } from '../base/model.ts'
import { isWhole } from '../base/numbers.ts'
import { show } from './json.ts'
import { limits } from './limits.ts'
import { packTexts } from './packed-texts.ts'
import { packVocabulary, Vocabulary } from './vocabulary.ts'

/** Packs the `vocab` of a tokenizer.json, text -> id. Throws `bad_model` for an invalid id. */
export function packedVocabularyOf(vocab: Readonly<Record<string, unknown>>): PackedVocabulary {
  const texts: (string | undefined)[] = []
  let twins: Map<string, number> | undefined
  for (const text of Object.keys(vocab)) {
    const id = vocab[text]
    checkId(id, text)
    while (texts.length <= id) texts.push(undefined)
    if (texts[id] === undefined) texts[id] = text
    else {
      twins ??= new Map()
      twins.set(text, id)
    }
  }
  return packVocabulary(packTexts(texts), twins)
}

/**
 * Returns the vocabulary as the `vocab` of a tokenizer.json. It has no prototype, since a token may
 * have any name.
 */
export function vocabOf({ ends, twins }: PackedVocabulary, vocabulary: Vocabulary): Record<string, number> {
  const vocab: Record<string, number> = Object.create(null)
  for (let id = 0; id < ends.length; id++) {
    const text = vocabulary.textOf(id)
    if (text !== undefined) vocab[text] ??= id
  }
  for (const [text, id] of twins ?? []) vocab[text] = id
  return vocab
}

/** Returns the `vocab` of a tokenizer.json, packed or not in its spec. */
export function vocabularyOf({ json, vocabulary }: TokenizerSpec): unknown {
  if (vocabulary) return vocabOf(vocabulary, new Vocabulary(vocabulary))
  return (json.model as { vocab?: unknown } | undefined)?.vocab
}

/**
 * Returns a complete tokenizer.json, with the vocabulary and the merges that a spec keeps beside
 * it.
 */
export function tokenizerJsonOf(spec: TokenizerSpec): Record<string, unknown> {
  const { json, mergeIds } = spec
  const vocab = vocabularyOf(spec)
  const model = { ...(json.model as Record<string, unknown>), vocab }
  if (!mergeIds) return { ...json, model }
  const textOf: string[] = []
  for (const [text, id] of Object.entries(vocab as Record<string, number>)) textOf[id] ??= text
  const merges: [string, string][] = []
  for (let at = 0; at < mergeIds.length; at += 2)
    merges.push([defined(textOf[defined(mergeIds[at])]), defined(textOf[defined(mergeIds[at + 1])])])
  return { ...json, model: { ...model, merges } }
}

/** Checks an id. Throws `bad_model` for an invalid one. */
export function checkId(id: unknown, token: string): asserts id is number {
  if (!isWhole(id, 0, limits.tokens - 1))
    throw new ForetokenError(
      'bad_model',
      `the tokenizer can't be read: the token ${show(token)} has the id ${show(id)}; expected a whole number below ${limits.tokens}`,
    )
}
