/** The vocabulary in a GGUF's metadata, in the form of Hugging Face's tokenizer.json. */
import { ForetokenError } from '../errors.ts'
import type { TokenizerSpec } from '../types.ts'
import type { MetadataReader } from './metadata.ts'

/** ggml's token types. */
const unknown = 2
const control = 3
const userDefined = 4

export function tokenizerOfGguf(metadata: MetadataReader): TokenizerSpec {
  const model = metadata.text('tokenizer.ggml.model')
  const tokens = metadata.texts('tokenizer.ggml.tokens')
  const types = metadata.optionalNumbers('tokenizer.ggml.token_type') ?? []
  const token = (name: string) => {
    const id = metadata.optionalNumber(`tokenizer.ggml.${name}_token_id`)
    if (id !== undefined && !(Number.isInteger(id) && id >= 0 && id < tokens.length))
      throw new ForetokenError(
        'bad_model',
        `${metadata.where}: ${name}_token_id is ${id}, outside its ${tokens.length} tokens`,
      )
    return id
  }
  const added = tokens.flatMap((content, id) =>
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
  const json =
    model === 'gpt2'
      ? byteLevel(metadata, tokens)
      : model === 'llama'
        ? sentencePiece(metadata, tokens, tokens[token('unknown') ?? 0]!)
        : undefined
  if (!json)
    throw new ForetokenError(
      'unsupported',
      `${metadata.where}: tokenizer ${JSON.stringify(model)}; gpt2 (byte-level BPE) and llama (SentencePiece) are read`,
    )
  const bos = token('bos')
  const eos = token('eos')
  const ends = [eos, token('eot'), token('eom')].filter((id) => id !== undefined)
  for (const name of endOfTurn) {
    const id = added.find((entry) => entry.content === name)?.id
    if (id !== undefined) ends.push(id)
  }
  return {
    json: { version: '1.0', added_tokens: added, ...json, post_processor: null },
    config: {},
    chatTemplate: metadata.optionalText('tokenizer.chat_template'),
    bosToken: bos === undefined ? undefined : tokens[bos],
    eosToken: eos === undefined ? undefined : tokens[eos],
    eosIds: [...new Set(ends)],
    addBos: metadata.optionalFlag('tokenizer.ggml.add_bos_token') ?? model === 'llama',
  }
}

/** Tokens that end a turn by convention, for files that only name the end of a text. */
const endOfTurn = ['<|im_end|>', '<|eot_id|>', '<|end_of_turn|>', '<end_of_turn>', '<|endoftext|>']

/** OpenAI's pattern for Llama 3 and Qwen 2; they differ in how many digits make a token. */
const splitPattern = (digits: string) =>
  `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`

const bytes = (regex: boolean) => ({ type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: regex })
const split = (digits: string) => ({
  type: 'Sequence',
  pretokenizers: [
    { type: 'Split', pattern: { Regex: splitPattern(digits) }, behavior: 'Isolated', invert: false },
    bytes(false),
  ],
})

/** How text is cut before the merges, by ggml's name for it. */
const preTokenizers: Readonly<Record<string, object>> = {
  'gpt-2': bytes(true),
  default: bytes(true),
  mpt: bytes(true),
  olmo: bytes(true),
  smollm: { type: 'Sequence', pretokenizers: [{ type: 'Digits', individual_digits: true }, bytes(true)] },
  'llama-bpe': split('{1,3}'),
  llama3: split('{1,3}'),
  qwen2: split(''),
}

function byteLevel(metadata: MetadataReader, tokens: readonly string[]): object {
  const pre = metadata.optionalText('tokenizer.ggml.pre') ?? 'default'
  const preTokenizer = preTokenizers[pre]
  if (!preTokenizer)
    throw new ForetokenError(
      'unsupported',
      `${metadata.where}: pre-tokenizer ${JSON.stringify(pre)}; ${Object.keys(preTokenizers).join(', ')} are known`,
    )
  const merges = metadata.texts('tokenizer.ggml.merges').map((merge) => {
    // The first letter may itself be a space: "Ġ" is not, but files of other makers differ.
    const at = merge.indexOf(' ', 1)
    if (at < 0)
      throw new ForetokenError('bad_model', `${metadata.where}: the merge ${JSON.stringify(merge)} has no two parts`)
    return [merge.slice(0, at), merge.slice(at + 1)]
  })
  return {
    normalizer: pre === 'qwen2' ? { type: 'NFC' } : null,
    pre_tokenizer: preTokenizer,
    decoder: bytes(true),
    model: {
      type: 'BPE',
      vocab: vocabulary(tokens),
      merges,
      unk_token: null,
      byte_fallback: false,
      ignore_merges: pre === 'llama-bpe' || pre === 'llama3',
    },
  }
}

/**
 * SentencePiece's BPE joins the neighbours whose union has the best score. The same as merges: every way to cut a piece
 * in two pieces, best score first.
 */
function sentencePiece(metadata: MetadataReader, tokens: readonly string[], unk: string): object {
  const scores = metadata.optionalNumbers('tokenizer.ggml.scores')
  if (!scores || scores.length !== tokens.length)
    throw new ForetokenError(
      'bad_model',
      `${metadata.where}: ${scores?.length ?? 0} scores for ${tokens.length} tokens`,
    )
  const vocab = vocabulary(tokens)
  const merges: { pair: [string, string]; score: number }[] = []
  tokens.forEach((piece, id) => {
    for (let at = 1; at < Math.min(piece.length, maxPiece); at++) {
      const pair: [string, string] = [piece.slice(0, at), piece.slice(at)]
      if (vocab[pair[0]] !== undefined && vocab[pair[1]] !== undefined) merges.push({ pair, score: scores[id]! })
    }
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

/** A longer piece is not cut in all ways: a hostile file could make that take for ever. */
const maxPiece = 256

/** Token -> id; no prototype, since a token may be called anything. A doubled token keeps its first id. */
function vocabulary(tokens: readonly string[]): Record<string, number> {
  const vocab: Record<string, number> = Object.create(null)
  tokens.forEach((token, id) => {
    vocab[token] ??= id
  })
  return vocab
}
