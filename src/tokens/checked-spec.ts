/**
 * Checks a tokenizer.json, which comes from strangers and which its library trusts. Anything that
 * would take more than linear time, grow a text without bound, or compute something other than what
 * the file means is refused here, before it is used.
 */
import type { TokenizerSpec } from '../base/model.ts'
import { isObject, type Json, show } from '../model/json.ts'
import { limits } from '../model/limits.ts'
import { checkId } from '../model/tokenizer-json.ts'
import { checkedNormalizer } from './checked-normalizer.ts'
import { checkedPreTokenizer } from './checked-pre-tokenizer.ts'
import { bad, type MoreTokenizers, maxSteps, unsupported } from './checked-steps.ts'

/**
 * Returns the spec in the form that the library can take: corrected where the library would misread
 * it, and without the parts that are not used. Throws `bad_model` for a spec that makes no sense or
 * costs too much, and `unsupported`, with its name, for a feature that is not implemented.
 */
export function checkedSpec(spec: TokenizerSpec, more?: MoreTokenizers): TokenizerSpec {
  const { json } = spec
  if (!isObject(json.model)) throw bad('it has no model')
  const steps = { left: maxSteps }
  return {
    ...spec,
    json: {
      ...json,
      model: checkedModel({ ...json.model }, spec.vocabulary !== undefined && spec.mergeIds !== undefined, more),
      added_tokens: checkedAdded(json.added_tokens),
      normalizer: checkedNormalizer(json.normalizer, steps, more),
      pre_tokenizer: checkedPreTokenizer(json.pre_tokenizer, steps),
      // foretoken adds BOS and EOS itself; a processor could repeat a text any number of times.
      post_processor: null,
      decoder: json.decoder ?? null,
    },
    // The other fields matter only for tokenizers without a tokenizer.json.
    config: {},
  }
}

/** `packed` says that vocabulary and merges are stored outside the JSON. */
function checkedModel(model: Json, packed: boolean, more: MoreTokenizers | undefined): Json {
  const { type, vocab, merges, dropout } = model
  const other = more?.model(model)
  if (other) return other
  // Files of the first versions have no type.
  const isBpe = type === 'BPE' || (type === undefined && (packed || Array.isArray(merges)))
  if (!isBpe) throw unsupported(`its model is ${show(type)}; ${more?.types ?? 'only BPE is'} supported`)
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
