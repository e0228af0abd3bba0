/** Tokenizers of XLM-R and its like: pieces with scores, and the charsmap of sentencepiece. */
import { Tokenizer as Library } from '@huggingface/tokenizers'
import { isWhole } from '../base/numbers.ts'
import { isObject, type Json, show } from '../model/json.ts'
import { limits } from '../model/limits.ts'
import { packTexts } from '../model/packed-texts.ts'
import { packVocabulary, Vocabulary } from '../model/vocabulary.ts'
import { Charsmap } from './charsmap.ts'
import { replace, sequence } from './checked-normalizer.ts'
import { bad, type MoreTokenizers, unsupported } from './checked-steps.ts'
import { Unigram } from './unigram.ts'

type Piece = readonly [text: string, score: number]

/** Reads texts only, as WordPiece. */
export const unigramTokenizers: MoreTokenizers = {
  types: 'BPE and Unigram are',
  model: (model) => (model.type === 'Unigram' ? checkedUnigram(model) : undefined),
  normalizer(value) {
    if (value.type === 'Precompiled') return precompiled(value)
    return value.type === 'Nmt' ? nmt : undefined
  },
  vocabulary: ({ type, vocab }) =>
    type === 'Unigram'
      ? new Vocabulary(packVocabulary(packTexts((vocab as Piece[]).map(([text]) => text))))
      : undefined,
  encoder(model, _, special) {
    if (model.type !== 'Unigram') return undefined
    const unigram = new Unigram({
      pieces: model.vocab as Piece[],
      unknown: model.unk_id as number,
      byteFallback: model.byte_fallback as boolean,
      special,
    })
    return (word, into) => unigram.encode(word, into)
  },
  normalize(json) {
    if (!json || !usesCharsmap(json)) return undefined
    const steps = stepsOf(json)
    return (text) => {
      // A step may put a few characters before a text.
      const most = mostGrowth * (text.length + 64)
      return steps.reduce((normal, step) => step(normal, most), text)
    }
  },
}

/** Longest piece in UTF-16 units. Published ones stay below 64. */
const longestPiece = limits.addedToken
/** UTF-16 units of all pieces: each may be a node of a trie. XLM-R has 250,000 pieces with 1.6 million. */
const mostUnits = 1 << 23

function checkedUnigram(model: Json): Json {
  const { vocab, unk_id: unknown, byte_fallback: byteFallback = false } = model
  if (!Array.isArray(vocab)) throw bad(`its vocab is ${show(vocab)}, not a list of pieces`)
  if (vocab.length > limits.tokens) throw bad(`its vocab has ${vocab.length} pieces; at most ${limits.tokens} are read`)
  let units = 0
  for (const [id, piece] of vocab.entries()) {
    const [text, score, more] = Array.isArray(piece) ? (piece as unknown[]) : []
    if (typeof text !== 'string' || !text.isWellFormed() || typeof score !== 'number' || more !== undefined)
      throw bad(`piece ${id} of its vocab is ${show(piece)}, not a text and its score`)
    // A number that is too large for its format is read as Infinity.
    if (!Number.isFinite(score)) throw bad(`the score of piece ${id} of its vocab is ${score}`)
    if (text.length > longestPiece)
      throw bad(`piece ${id} of its vocab has ${text.length} characters; at most ${longestPiece} are read`)
    units += text.length
  }
  if (units > mostUnits) throw bad(`the pieces of its vocab have ${units} characters; at most ${mostUnits} are read`)
  if (unknown === undefined || unknown === null)
    throw unsupported('its unk_id is missing, so that texts with unknown characters have no ids; name the id of <unk>')
  if (!isWhole(unknown, 0, vocab.length - 1))
    throw bad(`its unk_id is ${show(unknown)}, and its vocab has ${vocab.length} pieces`)
  if (typeof byteFallback !== 'boolean') throw bad(`byte_fallback is ${show(byteFallback)}, not true or false`)
  return { ...model, byte_fallback: byteFallback }
}

/**
 * Factor by which a text may be longer behind a charsmap than it came. Compatibility forms need 18, also
 * where two steps apply them, as in ALBERT's normalizer.
 */
const mostGrowth = 24

function precompiled({ precompiled_charsmap: text }: Json): ReturnType<MoreTokenizers['normalizer']> {
  if (typeof text !== 'string') throw bad(`its precompiled_charsmap is ${show(text)}, not a text in base64`)
  let file: Uint8Array
  try {
    file = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))
  } catch {
    throw bad('its precompiled_charsmap is not base64')
  }
  const charsmap = new Charsmap(file)
  return { json: { type: 'Precompiled', charsmap }, times: Math.max(1, charsmap.longest), most: mostGrowth }
}

/** Rules of an older normalizer, as the reference (`tokenizers`, normalizers/unicode.rs) has them. */
const nmt = {
  json: sequence([
    replace({ Regex: '[\\u{1}-\\u{8}\\u{B}\\u{E}-\\u{1F}\\u{7F}\\u{8F}\\u{9F}]' }, ''),
    replace(
      { Regex: '[\\t\\n\\u{C}\\r\\u{1680}\\u{200B}-\\u{200F}\\u{2028}\\u{2029}\\u{2581}\\u{FEFF}\\u{FFFD}]' },
      ' ',
    ),
  ]),
  times: 1,
}

function usesCharsmap({ charsmap, normalizers }: Json): boolean {
  return (
    charsmap !== undefined ||
    (Array.isArray(normalizers) && normalizers.some((one) => isObject(one) && usesCharsmap(one)))
  )
}

type Step = (text: string, most: number) => string

/** Returns the steps: those with a charsmap from here, and the others of the library. */
function stepsOf(json: Json): Step[] {
  if (!usesCharsmap(json)) return [libraryStep(json)]
  const { charsmap, normalizers } = json
  if (charsmap instanceof Charsmap) return [(text, most) => charsmap.normalize(text, most)]
  return (normalizers as readonly (Json | null)[]).flatMap((one) => (one ? stepsOf(one) : []))
}

function libraryStep(normalizer: Json): Step {
  const model = { type: 'BPE', vocab: {}, merges: [] }
  const rest = { pre_tokenizer: null, post_processor: null, decoder: null, added_tokens: [] }
  const { normalizer: built } = new Library({ ...rest, model, normalizer }, {})
  return (text) => (built ? built(text) : text)
}
