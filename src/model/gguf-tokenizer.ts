/** Converts the vocabulary in a GGUF's metadata into the form of Hugging Face's tokenizer.json. */
import { defined } from '../base/at.ts'
import { ForetokenError } from '../base/errors.ts'
import type { PackedTexts, PackedVocabulary, TokenizerSpec } from '../base/model.ts'
import { isWhole } from '../base/numbers.ts'
import { show } from './json.ts'
import { limits } from './limits.ts'
import type { MetadataReader } from './metadata.ts'
import { defaultPreTokenizer, type PreTokenizer, preTokenizers } from './pre-tokenizers.ts'
import { packTexts, packVocabulary, textAt, Vocabulary, vocabOf } from './vocabulary.ts'

/** Token types of ggml. */
const [unknown, control, userDefined, unused] = [2, 3, 4, 5]

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
      `${metadata.where}: tokenizer ${show(model)}; gpt2 (byte-level BPE) and llama (SentencePiece) are read`,
    )
  const named = metadata.count('tokenizer.ggml.tokens') ?? 0
  if (named > rows)
    throw new ForetokenError(
      'bad_model',
      `${metadata.where} has ${named} tokens, and its embedding ${rows} rows: the tokenizer is not this model's`,
    )
  const types = (await metadata.optionalNumbers('tokenizer.ggml.token_type', limits.tokens)) ?? []
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
    chatTemplate: metadata.optionalText('tokenizer.chat_template'),
    bosToken: text(bos),
    eosToken: text(eos),
    eosIds: [...new Set(ends)],
    addBos: metadata.optionalFlag('tokenizer.ggml.add_bos_token') ?? begins,
  }
  const ids = idsOf(packed, vocabulary)
  for (const { id } of added) ids.push(id)
  return { spec, ids, warnings }
}

/** Tokens that end a turn by convention, for files that name only the end of a text. */
const endOfTurn = [
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
function specialIds(metadata: MetadataReader, tokens: number, model: string) {
  const id = (name: string, otherwise?: number) => {
    const found = metadata.optionalNumber(`tokenizer.ggml.${name}_token_id`)
    if (found === undefined) {
      const has = model === 'llama' && otherwise !== undefined && otherwise < tokens
      return has ? otherwise : undefined
    }
    if (isWhole(found, 0, tokens - 1)) return found
    throw new ForetokenError(
      'bad_model',
      `${metadata.where}: ${name}_token_id is ${found}, outside its ${tokens} tokens`,
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
function gapTokens(gap: readonly (number | undefined)[], tokens: PackedTexts): { fim_tokens?: (string | undefined)[] } {
  return gap.some((id) => id === undefined) ? {} : { fim_tokens: gap.map((id) => textAt(tokens, defined(id))) }
}

function addedTokens(tokens: PackedTexts, types: ArrayLike<number>) {
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

const preKey = 'tokenizer.ggml.pre'

/** Returns the pre-tokenizer of the file. Throws `unsupported` for an unknown name. */
function preTokenizerOf(metadata: MetadataReader, warnings: string[]): PreTokenizer {
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
    `${metadata.where}: pre-tokenizer ${show(name)}; ${[...preTokenizers.keys()].join(', ')} are known`,
  )
}

/**
 * The parts of a tokenizer.json. If `mergeIds` is defined, `model` has no vocabulary and no merges.
 */
interface Parts {
  readonly mergeIds: Uint32Array | undefined
  readonly model: object
  readonly normalizer: object | null
  readonly pre_tokenizer: object | null
  readonly decoder: object | null
}

async function byteLevel(
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
        `${metadata.where}: the merge ${show(text.slice(from, to))} does not have two parts`,
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

/**
 * Reads SentencePiece's BPE as merges. SentencePiece joins the neighbours whose union has the best
 * score, which equals applying a merge for every way to cut a piece in two, best score first.
 */
async function sentencePiece(
  metadata: MetadataReader,
  { text, ends }: PackedTexts,
  vocabulary: Vocabulary,
  unk: string | null,
): Promise<Parts> {
  checkCuts(metadata.where, ends)
  const scores = await metadata.optionalNumbers('tokenizer.ggml.scores', limits.tokens)
  if (!scores || scores.length !== ends.length)
    throw new ForetokenError('bad_model', `${metadata.where}: ${scores?.length ?? 0} scores for ${ends.length} tokens`)
  const [lefts, rights, wholes]: [number[], number[], number[]] = [[], [], []]
  for (let id = 0, from = 0; id < ends.length; id++) {
    const to = defined(ends[id])
    for (let at = from + 1; at < Math.min(to, from + maxPiece); at++) {
      const left = vocabulary.find(text, from, at)
      const right = left === undefined ? undefined : vocabulary.find(text, at, to)
      if (right === undefined) continue
      lefts.push(defined(left))
      rights.push(right)
      wholes.push(id)
    }
    if (wholes.length > limits.merges)
      throw new ForetokenError('bad_model', `${metadata.where}: its pieces make more than ${limits.merges} merges`)
    from = to
  }
  const scoreOf = (merge: number) => defined(scores[defined(wholes[merge])])
  const order = Uint32Array.from(wholes.keys()).sort((a, b) => scoreOf(b) - scoreOf(a) || a - b)
  const mergeIds = new Uint32Array(2 * order.length)
  for (let rank = 0; rank < order.length; rank++) {
    mergeIds[2 * rank] = defined(lefts[defined(order[rank])])
    mergeIds[2 * rank + 1] = defined(rights[defined(order[rank])])
  }
  const prefix = metadata.optionalFlag('tokenizer.ggml.add_space_prefix') ?? true
  return {
    mergeIds,
    normalizer: {
      type: 'Sequence',
      normalizers: [
        ...(prefix ? [{ type: 'Prepend', prepend: '▁' }] : []),
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    pre_tokenizer: null,
    decoder: null,
    model: { type: 'BPE', unk_token: unk, fuse_unk: true, byte_fallback: true, ignore_merges: false },
  }
}

/** Maximum length of a piece that is cut in all ways, in letters. */
const maxPiece = 256

/**
 * Maximum number of letters that are read to cut all pieces in all ways. Gemma's 262,144 pieces of
 * up to 16 letters take at most 67 million.
 */
const maxCutLetters = 2 ** 28

/**
 * Estimates the work of cutting pieces, which grows with the square of their lengths. Throws
 * `bad_model` before any of it is done if it is too much.
 */
function checkCuts(where: string, ends: Uint32Array): void {
  let letters = 0
  for (let id = 0, from = 0; id < ends.length; from = defined(ends[id++])) {
    const length = defined(ends[id]) - from
    letters += length * Math.min(length, maxPiece)
  }
  if (letters > maxCutLetters)
    throw new ForetokenError(
      'bad_model',
      `${where}: its ${ends.length} pieces are too long to find their merges: no vocabulary that we know of comes near`,
    )
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
