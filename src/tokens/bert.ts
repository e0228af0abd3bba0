/** Tokenizers of BERT-like models: words that are cut into pieces, and their normalizer. */
import { isWhole } from '../base/numbers.ts'
import { isObject, type Json, show } from '../model/json.ts'
import { lowercase, replace, sequence } from './checked-normalizer.ts'
import { bad, type MoreTokenizers } from './checked-steps.ts'
import { WordPiece } from './word-piece.ts'

/** Reads texts only: a file does not say how to write a text from such pieces. */
export const bertTokenizers: MoreTokenizers = {
  types: 'BPE and WordPiece are',
  model: (model) => (model.type === 'WordPiece' ? checkedWordPiece(model) : undefined),
  normalizer: (value) => (value.type === 'BertNormalizer' ? bertNormalizer(value) : undefined),
  encoder(model, vocabulary, special) {
    if (model.type !== 'WordPiece') return undefined
    const pieces = new WordPiece({
      vocabulary,
      special,
      unknown: vocabulary.idOf(model.unk_token as string) as number,
      prefix: model.continuing_subword_prefix as string,
      longestWord: model.max_input_chars_per_word as number,
    })
    return (word, into) => pieces.encode(word, into)
  },
}

/** Longest word that is cut into pieces, in characters; files say 100. */
const longestWord = 256

function checkedWordPiece(model: Json): Json {
  const {
    vocab,
    unk_token: unknown,
    continuing_subword_prefix: prefix = '##',
    max_input_chars_per_word: longest = 100,
  } = model
  if (!isObject(vocab)) throw bad(`its vocab is ${show(vocab)}, not an object`)
  if (typeof unknown !== 'string' || !Object.hasOwn(vocab, unknown))
    throw bad(`its unk_token is ${show(unknown)}, which its vocab does not have`)
  if (typeof prefix !== 'string' || prefix.length > 16)
    throw bad(`its continuing_subword_prefix is ${show(prefix)}, not a short text`)
  if (!isWhole(longest, 1, longestWord))
    throw bad(`its max_input_chars_per_word is ${show(longest)}; 1 to ${longestWord} are read`)
  return { ...model, continuing_subword_prefix: prefix, max_input_chars_per_word: longest }
}

/** Cc, Cf and Co, without tab and line breaks; U+0000 is among them. */
const invisible = '[\\u{0}-\\u{8}\\u{B}\\u{C}\\u{E}-\\u{1F}\\u{7F}-\\u{9F}\\p{Cf}\\p{Co}\\u{FFFD}]'
const chinese =
  '[\\u{4E00}-\\u{9FFF}\\u{3400}-\\u{4DBF}\\u{20000}-\\u{2A6DF}\\u{2A700}-\\u{2B73F}\\u{2B740}-\\u{2B81F}\\u{2B920}-\\u{2CEAF}\\u{F900}-\\u{FAFF}\\u{2F800}-\\u{2FA1F}]'

/**
 * Returns the steps of BERT's normalizer, as the reference (`tokenizers`, normalizers/bert.rs) takes
 * them. The library's own differs for characters beyond U+FFFF and for control characters.
 */
function bertNormalizer(value: Json): { readonly json: Json; readonly times: number } {
  const { clean_text: clean = true, handle_chinese_chars: spaced = true, lowercase: lower = true } = value
  const { strip_accents: strip = null } = value
  for (const flag of [clean, spaced, lower, strip ?? false])
    if (typeof flag !== 'boolean') throw bad(`BertNormalizer has ${show(flag)}, not true or false`)
  const times = (spaced ? 3 : 1) * ((strip ?? lower) ? 3 : 1) * (lower ? 3 : 1)
  const json = sequence([
    ...(clean ? [replace({ Regex: invisible }, ''), replace({ Regex: '\\p{White_Space}' }, ' ')] : []),
    // `$&` is the match.
    ...(spaced ? [replace({ Regex: chinese }, ' $& ')] : []),
    ...((strip ?? lower) ? [{ type: 'NFD' }, replace({ Regex: '\\p{Mn}' }, '')] : []),
    ...(lower ? [lowercase] : []),
  ])
  return { json, times }
}
