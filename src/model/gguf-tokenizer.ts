/** The vocabulary in a GGUF's metadata, in the form of Hugging Face's tokenizer.json. */
import { ForetokenError } from '../errors.ts'
import type { TokenizerSpec } from '../types.ts'
import { show } from './json.ts'
import { limits } from './limits.ts'
import type { MetadataReader } from './metadata.ts'
import { defaultPreTokenizer, type PreTokenizer, preTokenizers } from './pre-tokenizers.ts'

/** ggml's token types. */
const [unknown, control, userDefined, unused] = [2, 3, 4, 5]

export interface GgufTokenizer {
  readonly spec: TokenizerSpec
  /** Ids that have a token. */
  readonly ids: readonly number[]
  readonly warnings: readonly string[]
}

/** `rows`: of the embedding. Throws `bad_model` for a vocabulary that is malformed or larger, `unsupported` for another kind of tokenizer. */
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
  const tokens = await metadata.texts('tokenizer.ggml.tokens', limits.tokens, limits.token)
  const types = (await metadata.optionalNumbers('tokenizer.ggml.token_type', limits.tokens)) ?? []
  const { vocab, ids } = vocabulary(tokens, types)
  const warnings: string[] = []
  const special = specialIds(metadata, tokens, model)
  const json =
    model === 'gpt2'
      ? await byteLevel(metadata, preTokenizerOf(metadata, warnings), vocab)
      : await sentencePiece(metadata, tokens, vocab, tokens[special.unknown ?? 0] ?? null)
  const { bos, eos } = special
  const ends = [eos, special.eot, special.eom].filter((id) => id !== undefined)
  const added = addedTokens(tokens, types)
  for (const name of endOfTurn) {
    const id = added.find((entry) => entry.content === name)?.id
    if (id !== undefined) ends.push(id)
  }
  if (ends.length === 0)
    warnings.push(`${metadata.where} does not say which token ends an answer: answers run to their limit`)
  const begins = model === 'llama' || (preTokenizers.get(metadata.optionalText(preKey) ?? '')?.addBos ?? false)
  const spec = {
    json: { version: '1.0', added_tokens: added, ...json, post_processor: null },
    config: {},
    chatTemplate: metadata.optionalText('tokenizer.chat_template'),
    bosToken: bos === undefined ? undefined : tokens[bos],
    eosToken: eos === undefined ? undefined : tokens[eos],
    eosIds: [...new Set(ends)],
    addBos: metadata.optionalFlag('tokenizer.ggml.add_bos_token') ?? begins,
  }
  return { spec, ids: ids.concat(added.map(({ id }) => id)), warnings }
}

/** Tokens that end a turn by convention, for files that only name the end of a text. */
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

/** The ids of special tokens. SentencePiece's own stand for those that the file leaves out, as far as it has them. */
function specialIds(metadata: MetadataReader, tokens: readonly string[], model: string) {
  const id = (name: string, otherwise?: number) => {
    const found = metadata.optionalNumber(`tokenizer.ggml.${name}_token_id`)
    if (found === undefined) return model === 'llama' && otherwise! < tokens.length ? otherwise : undefined
    if (Number.isInteger(found) && found >= 0 && found < tokens.length) return found
    throw new ForetokenError(
      'bad_model',
      `${metadata.where}: ${name}_token_id is ${found}, outside its ${tokens.length} tokens`,
    )
  }
  return { unknown: id('unknown', 0), bos: id('bos', 1), eos: id('eos', 2), eot: id('eot'), eom: id('eom') }
}

function addedTokens(tokens: readonly string[], types: readonly number[]) {
  return tokens.flatMap((content, id) =>
    types[id] === control || types[id] === userDefined || types[id] === unknown
      ? [
          {
            id,
            content,
            special: types[id] !== userDefined,
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: false,
          },
        ]
      : [],
  )
}

const preKey = 'tokenizer.ggml.pre'

/** Throws `unsupported` for a name that we don't have. */
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

async function byteLevel(
  metadata: MetadataReader,
  { json, ignoreMerges = false, compose = false }: PreTokenizer,
  vocab: Record<string, number>,
): Promise<object> {
  const written = await metadata.texts('tokenizer.ggml.merges', limits.merges, 2 * limits.token)
  const merges = written.map((merge) => {
    // The first letter may itself be a space: "Ġ" is not, but files of other makers differ.
    const at = merge.indexOf(' ', 1)
    if (at < 0) throw new ForetokenError('bad_model', `${metadata.where}: the merge ${show(merge)} has no two parts`)
    return [merge.slice(0, at), merge.slice(at + 1)]
  })
  return {
    normalizer: compose ? { type: 'NFC' } : null,
    pre_tokenizer: json,
    decoder: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    model: { type: 'BPE', vocab, merges, unk_token: null, byte_fallback: false, ignore_merges: ignoreMerges },
  }
}

/**
 * SentencePiece's BPE joins the neighbours whose union has the best score. The same as merges: every way to cut a piece
 * in two pieces, best score first.
 */
async function sentencePiece(
  metadata: MetadataReader,
  tokens: readonly string[],
  vocab: Record<string, number>,
  unk: string | null,
): Promise<object> {
  checkCuts(metadata.where, tokens)
  const scores = await metadata.optionalNumbers('tokenizer.ggml.scores', limits.tokens)
  if (!scores || scores.length !== tokens.length)
    throw new ForetokenError(
      'bad_model',
      `${metadata.where}: ${scores?.length ?? 0} scores for ${tokens.length} tokens`,
    )
  const merges: { pair: [string, string]; score: number }[] = []
  tokens.forEach((piece, id) => {
    for (let at = 1; at < Math.min(piece.length, maxPiece); at++) {
      const left = piece.slice(0, at)
      if (vocab[left] === undefined) continue
      const right = piece.slice(at)
      if (vocab[right] !== undefined) merges.push({ pair: [left, right], score: scores[id]! })
    }
    if (merges.length > limits.merges)
      throw new ForetokenError('bad_model', `${metadata.where}: its pieces make more than ${limits.merges} merges`)
  })
  merges.sort((a, b) => b.score - a.score)
  const prefix = metadata.optionalFlag('tokenizer.ggml.add_space_prefix') ?? true
  return {
    normalizer: {
      type: 'Sequence',
      normalizers: [
        ...(prefix ? [{ type: 'Prepend', prepend: '▁' }] : []),
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    pre_tokenizer: null,
    decoder: null,
    model: {
      type: 'BPE',
      vocab,
      merges: merges.map(({ pair }) => pair),
      unk_token: unk,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
    },
  }
}

/** A longer piece is not cut in all ways. */
const maxPiece = 256

/** Letters looked at to cut all pieces in all ways. 262,144 pieces of up to 16 letters, as Gemma's are, take at most 67 million. */
const maxCutLetters = 2 ** 28

/** Cutting a piece looks at all of its letters for each cut: the square of its length. Throws `bad_model` before it is done. */
function checkCuts(where: string, tokens: readonly string[]): void {
  const letters = tokens.reduce((sum, { length }) => sum + length * Math.min(length, maxPiece), 0)
  if (letters > maxCutLetters)
    throw new ForetokenError(
      'bad_model',
      `${where}: its ${tokens.length} pieces are too long to find their merges: no vocabulary that we know of comes near`,
    )
}

/**
 * Token -> id; no prototype, since a token may be called anything. A doubled token keeps its first id. Texts that converters make up for rows
 * without a token are left out: nobody means them.
 */
function vocabulary(tokens: readonly string[], types: readonly number[]) {
  const vocab: Record<string, number> = Object.create(null)
  const ids: number[] = []
  for (let id = 0; id < tokens.length; id++) {
    const token = tokens[id]!
    if ((types[id] === unused && token === `[PAD${id}]`) || vocab[token] !== undefined) continue
    vocab[token] = id
    ids.push(id)
  }
  return { vocab, ids }
}
