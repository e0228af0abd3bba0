/**
 * Checks a tokenizer.json, which comes from strangers and which its library trusts. Anything that
 * would take more than linear time, grow a text without bound, or compute something other than what
 * the file means is refused here, before it is used.
 */

import { ForetokenError } from '../base/errors.ts'
import type { TokenizerSpec } from '../base/model.ts'
import { isWhole } from '../base/numbers.ts'
import { isObject, type Json, show } from '../model/json.ts'
import { limits } from '../model/limits.ts'
import { checkId } from '../model/vocabulary.ts'
import { shortestMatch, whyNotLinear } from './linear-pattern.ts'

/**
 * Factor by which normalizing may lengthen a text. Compatibility forms (NFKC) need 18, all others
 * much less.
 */
const maxGrowth = 64
/** Most characters that may be prepended to a text, as `▁` is. */
const maxPrepended = 64
/**
 * Published patterns that take quadratic time, each with one that finds the same in linear time:
 * this one starts at the front of a run only.
 */
const linearForms: Readonly<Record<string, string>> = { '\\s+$': '(?<!\\s)\\s+$' }
/** Most steps of normalizer and pre-tokenizer together. Published ones have up to seven. */
const maxSteps = 32

/**
 * Returns the spec in the form that the library can take: corrected where the library would misread
 * it, and without the parts that are not used. Throws `bad_model` for a spec that makes no sense or
 * costs too much, and `unsupported`, with its name, for a feature that is not implemented.
 */
export function checkedSpec(spec: TokenizerSpec): TokenizerSpec {
  const { json } = spec
  if (!isObject(json.model)) throw bad('it has no model')
  const steps = { left: maxSteps }
  return {
    ...spec,
    json: {
      ...json,
      model: checkedModel({ ...json.model }, spec.vocabulary !== undefined && spec.mergeIds !== undefined),
      added_tokens: checkedAdded(json.added_tokens),
      normalizer: checkedNormalizer(json.normalizer, steps),
      pre_tokenizer: checkedPreTokenizer(json.pre_tokenizer, steps),
      // foretoken adds BOS and EOS itself; a processor could repeat a text any number of times.
      post_processor: null,
      decoder: json.decoder ?? null,
    },
    // The other fields matter only for tokenizers without a tokenizer.json.
    config: {},
  }
}

function bad(what: string): ForetokenError {
  return new ForetokenError('bad_model', `the tokenizer can't be read: ${what}`)
}

function unsupported(what: string): ForetokenError {
  return new ForetokenError('unsupported', `the tokenizer can't be run: ${what}`)
}

/** `packed` says that vocabulary and merges are stored outside the JSON. */
function checkedModel(model: Json, packed: boolean): Json {
  const { type, vocab, merges, dropout } = model
  // Files of the first versions have no type.
  const isBpe = type === 'BPE' || (type === undefined && (packed || Array.isArray(merges)))
  if (!isBpe) throw unsupported(`its model is ${show(type)}; only BPE is supported`)
  if (!packed && !isObject(vocab)) throw bad(`its vocab is ${show(vocab)}, not an object`)
  if (!packed && !Array.isArray(merges)) throw bad(`its merges are ${show(merges)}, not a list`)
  if (Array.isArray(merges) && merges.length > limits.merges)
    throw bad(`it has ${merges.length} merges; at most ${limits.merges} are read`)
  if (dropout !== undefined && dropout !== null && dropout !== 0)
    throw unsupported(`dropout ${show(dropout)} would tokenize a text differently each time`)
  for (const key of ['continuing_subword_prefix', 'continuing_subword_suffix', 'end_of_word_suffix'])
    if (model[key] !== undefined && model[key] !== null && model[key] !== '')
      throw unsupported(`${key} is ${show(model[key])}; only models without it are supported`)
  for (const key of ['fuse_unk', 'byte_fallback', 'ignore_merges'])
    if (typeof (model[key] ?? false) !== 'boolean') throw bad(`${key} is ${show(model[key])}, not true or false`)
  if (typeof (model.unk_token ?? '') !== 'string') throw bad(`unk_token is ${show(model.unk_token)}, not a text`)
  return { ...model, type: 'BPE' }
}

function checkedAdded(added: unknown): Json[] {
  const list = added ?? []
  if (!Array.isArray(list)) throw bad(`added_tokens is ${show(added)}, not a list`)
  if (list.length > limits.addedTokens)
    throw bad(`it has ${list.length} added tokens; at most ${limits.addedTokens} are read`)
  let letters = 0
  for (const token of list) {
    if (!isObject(token) || typeof token.content !== 'string') throw bad('an added token has no content')
    const { content, id } = token
    checkId(id, content)
    if (content.length > limits.addedToken)
      throw bad(`an added token has ${content.length} characters; at most ${limits.addedToken} are read`)
    letters += content.length
    for (const key of ['single_word', 'lstrip', 'rstrip', 'special', 'normalized'])
      if (typeof (token[key] ?? false) !== 'boolean') throw bad(`${key} of ${show(content)} is ${show(token[key])}`)
  }
  if (letters > limits.addedText)
    throw bad(`its added tokens have ${letters} characters; at most ${limits.addedText} are read`)
  return list
}

interface Steps {
  left: number
}

function step(steps: Steps): void {
  if (steps.left-- === 0) throw bad(`it has more than ${maxSteps} steps before the merges`)
}

function checkedNormalizer(normalizer: unknown, steps: Steps): Json | null {
  const growth = { times: 1, more: 0 }
  const checked = normalizerOf(normalizer ?? null, steps, growth)
  if (growth.times > maxGrowth)
    throw unsupported(
      `its normalizer may make a text ${growth.times} times as long; at most ${maxGrowth} times is allowed`,
    )
  return checked
}

/** A text of n characters may grow to `times` n + `more`. */
interface Growth {
  times: number
  more: number
}

function normalizerOf(value: unknown, steps: Steps, growth: Growth): Json | null {
  if (value === null) return null
  if (!isObject(value)) throw bad(`a normalizer is ${show(value)}, not an object`)
  step(steps)
  switch (value.type) {
    case 'Sequence': {
      const { normalizers } = value
      if (!Array.isArray(normalizers)) throw bad(`normalizers is ${show(normalizers)}, not a list`)
      return { ...value, normalizers: normalizers.map((each: unknown) => normalizerOf(each, steps, growth)) }
    }
    case 'NFC':
    case 'NFD':
    case 'Lowercase':
      growth.times *= 3
      return value
    case 'NFKC':
    case 'NFKD':
      growth.times *= 18
      return value
    case 'Strip':
    case 'StripAccents':
      return value
    case 'Prepend': {
      const { prepend } = value
      if (typeof prepend !== 'string') throw bad(`Prepend has ${show(prepend)}, not a text`)
      growth.more += prepend.length
      if (growth.more > maxPrepended)
        throw bad(`it puts ${growth.more} characters before a text; at most ${maxPrepended} are read`)
      return value
    }
    case 'Replace': {
      const { content } = value
      if (typeof content !== 'string') throw bad(`Replace has ${show(content)} for content, not a text`)
      const least = checkedPattern(value.pattern, 'Replace')
      growth.times *= least === 0 ? 1 + content.length : Math.max(1, content.length / least)
      // The library would interpret `$&` and similar, which are literal here.
      return { ...value, content: content.replaceAll('$', '$$$$') }
    }
    default:
      throw unsupported(`its normalizer ${show(value.type)} is not known`)
  }
}

function checkedPreTokenizer(value: unknown, steps: Steps): Json | null {
  const counted = new Map<unknown, number>()
  return preTokenizerOf(value ?? null, steps, counted)
}

/** Types without settings, or without settings that affect cost. */
const plainTypes = ['Digits', 'Punctuation', 'Whitespace', 'WhitespaceSplit', 'BertPreTokenizer']
/** Types that lengthen a text: by letters for bytes, or by a mark before each word. */
const growingTypes = ['ByteLevel', 'Metaspace']

function preTokenizerOf(value: unknown, steps: Steps, counted: Map<unknown, number>): Json | null {
  if (value === null) return null
  if (!isObject(value)) throw bad(`a pre-tokenizer is ${show(value)}, not an object`)
  step(steps)
  const { type } = value
  if (type === 'Sequence') {
    const { pretokenizers } = value
    if (!Array.isArray(pretokenizers)) throw bad(`pretokenizers is ${show(pretokenizers)}, not a list`)
    return { ...value, pretokenizers: pretokenizers.map((each: unknown) => preTokenizerOf(each, steps, counted)) }
  }
  if (growingTypes.includes(type as string)) {
    const count = (counted.get(type) ?? 0) + 1
    counted.set(type, count)
    if (count > 1) throw unsupported(`its pre-tokenizer has ${type} twice`)
    const { replacement = '▁', str_rep: written = '▁' } = value
    for (const text of [replacement, written])
      if (typeof text !== 'string' || [...text].length !== 1)
        throw bad(`Metaspace has ${show(text)}, not one character`)
    return value
  }
  if (type === 'Split') {
    const { Regex: regex } = isObject(value.pattern) ? value.pattern : {}
    const linear = typeof regex === 'string' && Object.hasOwn(linearForms, regex) ? linearForms[regex] : undefined
    const pattern = linear === undefined ? value.pattern : { Regex: linear }
    checkedPattern(pattern, 'Split')
    if (typeof (value.invert ?? false) !== 'boolean') throw bad(`invert is ${show(value.invert)}, not true or false`)
    return { ...value, pattern, invert: value.invert ?? false }
  }
  if (type === 'FixedLength') {
    if (!isWhole(value.length, 1)) throw bad(`FixedLength has the length ${show(value.length)}`)
    return value
  }
  if (plainTypes.includes(type as string)) return value
  if (type === 'CharDelimiterSplit' && typeof value.delimiter === 'string' && [...value.delimiter].length === 1)
    return { type: 'Split', pattern: { String: value.delimiter }, behavior: 'Removed', invert: false }
  throw unsupported(`its pre-tokenizer ${show(type)} is not known`)
}

/** Checks that a pattern takes linear time, and returns the fewest characters that it matches. */
function checkedPattern(pattern: unknown, where: string): number {
  const { String: text, Regex: regex } = isObject(pattern) ? pattern : {}
  if (typeof text === 'string' && regex === undefined) return text.length
  if (typeof regex !== 'string' || text !== undefined)
    throw bad(`${where} has neither a String nor a Regex for a pattern`)
  const why = whyNotLinear(regex)
  if (why !== undefined)
    throw unsupported(
      `the pattern of its ${where}, ${show(regex)}, is not known to take linear time: ${why.slice(0, 200)}`,
    )
  return shortestMatch(regex)
}
