/**
 * Rules that cut text before the merges, by their names in GGUF files (`tokenizer.ggml.pre`). Names
 * and patterns are those that llama.cpp knows; each pattern cuts the pieces that earlier ones left.
 */

/** OpenAI's pattern of GPT-2 is built into the library. */
const bytes = (regex: boolean) => ({ type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: regex })

const split = (pattern: string) => ({ type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false })

/** Cuts by each pattern in turn, then by GPT-2's if `gpt2` is true. */
function cut(patterns: readonly string[], gpt2 = false): object {
  if (patterns.length === 0) return bytes(gpt2)
  return { type: 'Sequence', pretokenizers: [...patterns.map(split), bytes(gpt2)] }
}

const contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
const spaces = '\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+'

/**
 * OpenAI's pattern of GPT-4, as Llama 3 and Qwen 2 have it: they differ in how many digits make a
 * piece.
 */
const gpt4 = (digits: string, letters = '\\p{L}', notMark = '') =>
  `${contractions}|[^\\r\\n\\p{L}\\p{N}]?${letters}+|\\p{N}${digits}| ?[^\\s\\p{L}${notMark}\\p{N}]+[\\r\\n]*|${spaces}`

const [upper, lower] = ['[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]', '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]']
const before = '[^\\r\\n\\p{L}\\p{N}]?'

/**
 * OpenAI's pattern of GPT-4o, and Mistral's Tekken without contractions: words end where a capital
 * follows small letters.
 */
const cased = (behind: string, digits: string) =>
  `${before}${upper}*${lower}+${behind}|${before}${upper}+${lower}*${behind}|\\p{N}${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|${spaces}`

/** DeepSeek V3's last pattern. */
const deepseek3 =
  '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|' +
  spaces

/** The cased letters that DeepSeek LLM keeps together. */
const casedLetters =
  'A-Za-z\\u00b5\\u00c0-\\u00d6\\u00d8-\\u00f6\\u00f8-\\u01ba\\u01bc-\\u01bf\\u01c4-\\u0293\\u0295-\\u02af\\u0370-\\u0373\\u0376\\u0377' +
  '\\u037b-\\u037d\\u037f\\u0386\\u0388-\\u038a\\u038c\\u038e-\\u03a1\\u03a3-\\u03f5\\u03f7-\\u0481\\u048a-\\u052f\\u0531-\\u0556' +
  '\\u10a0-\\u10c5\\u13a0-\\u13f5\\u13f8-\\u13fd\\u1c90-\\u1cba\\u1cbd-\\u1cbf\\u1d00-\\u1d2b\\u1d6b-\\u1d77\\u1d79-\\u1d9a\\u1e00-\\u1f15' +
  '\\u1f18-\\u1f1d\\u1f20-\\u1f45\\u1f48-\\u1f4d\\u1f50-\\u1f57\\u1f59\\u1f5b\\u1f5d\\u1f5f-\\u1f7d\\u1f80-\\u1fb4\\u1fb6-\\u1fbc\\u1fbe' +
  '\\u1fc2-\\u1fc4\\u1fc6-\\u1fcc\\u1fd0-\\u1fd3\\u1fd6-\\u1fdb\\u1fe0-\\u1fec\\u1ff2-\\u1ff4\\u1ff6-\\u1ffc\\u2102\\u2107\\u210a-\\u2113' +
  '\\u2115\\u2119-\\u211d\\u2124\\u2126\\u2128\\u212a-\\u212d\\u212f-\\u2134\\u2139\\u213c-\\u213f\\u2145-\\u2149\\u214e\\u2183\\u2184' +
  '\\u2c00-\\u2c7b\\u2c7e-\\u2ce4\\u2ceb-\\u2cee\\u2cf2\\u2cf3\\ua640-\\ua66d\\ua680-\\ua69b\\ua722-\\ua76f\\ua771-\\ua787\\ua78b-\\ua78e' +
  '\\uab70-\\uabbf\\ufb00-\\ufb06\\ufb13-\\ufb17\\uff21-\\uff3a\\uff41-\\uff5a\\u{10400}-\\u{1044f}\\u{104b0}-\\u{104d3}' +
  '\\u{104d8}-\\u{104fb}\\u{10c80}-\\u{10cb2}\\u{10cc0}-\\u{10cf2}\\u{118a0}-\\u{118df}\\u{1e900}-\\u{1e943}'
const eastAsian = '[\\u4e00-\\u9fa5\\u0800-\\u4e00\\uac00-\\ud7ff]+'
const hanAndKana = '[\\u4e00-\\u9fa5\\u3040-\\u309f\\u30a0-\\u30ff]+'

/**
 * A run of spaces at the end of a piece. Lookbehind, so that a run that is not at the end is not
 * tried from each of its spaces.
 */
const lastSpaces = '(?<!\\s)\\s+$'

const gpt2 = cut([], true)
const digitByDigit = cut(['\\p{N}'], true)
const llama3 = cut([gpt4('{1,3}')])
const qwen2 = cut([gpt4('')])
const words = ' ?[^(\\s|.,!?\\u2026\\u3002\\uff0c\\u3001\\u0964\\u06d4\\u060c)]+'
const gpt4o = cut([cased(`${contractions}?`, '{1,3}')])
const deepseekV3 = cut(['\\p{N}{1,3}', hanAndKana, deepseek3])
const bailing = cut([
  `'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+`,
])

export interface PreTokenizer {
  /** Definition in the form of tokenizer.json. */
  readonly json: object
  /** A piece that is a token is that token, whatever its merges. */
  readonly ignoreMerges?: boolean
  /** Texts begin with BOS unless the file says otherwise. */
  readonly addBos?: boolean
  /** Text is composed (NFC) first, as the tokenizer.json of these models says. */
  readonly compose?: boolean
}

/**
 * The rules that llama.cpp uses if a file names none: punctuation apart, then GPT-2's words, then
 * digits in threes.
 */
export const defaultPreTokenizer: PreTokenizer = {
  json: {
    type: 'Sequence',
    pretokenizers: [
      ...['[\\p{P}\\$\\+<=>\\^~\\|]+', gpt2Words(), '\\p{N}+', '[0-9][0-9][0-9]'].map(split),
      bytes(false),
    ],
  },
}

/** Returns GPT-2's pattern, for rules in which others follow it. */
function gpt2Words(): string {
  return "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
}

const asciiSigns = '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~]'

/**
 * Runs of Korean, of wide punctuation, of Bopomofo, and of Chinese and Japanese, as Youtu keeps
 * them together.
 */
const youtu =
  '[\uac00-\ud7a3\u3131-\u318e]+|[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c\u3001-\u303f\ufe30-\ufe4f]+|[\u3105-\u312f]+|' +
  hanAndKana

const groups: readonly [names: string, PreTokenizer][] = [
  ['default', defaultPreTokenizer],
  [
    'gpt-2 phi-2 mpt olmo jais trillion granite-docling exaone4 jina-es jina-de jina-v2-es jina-v2-de jina-v1-en jina-v2-code ' +
      'roberta-bpe gigachat a.x-4.0 mellum modern-bert',
    { json: gpt2 },
  ],
  ['smollm starcoder refact command-r codeshell exaone minerva-7b mellum2', { json: digitByDigit }],
  [
    'llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano',
    { json: llama3, ignoreMerges: true, addBos: true },
  ],
  ['dbrx smaug-bpe glm4 chatglm-bpe', { json: llama3 }],
  ['qwen2', { json: qwen2, compose: true }],
  ['stablelm2 deepseek-r1-qwen kormo f2llmv2 hunyuan solar-open megrez grok-2', { json: qwen2 }],
  ['qwen35', { json: cut([gpt4('', '[\\p{L}\\p{M}]', '\\p{M}')]) }],
  ['ufakzeka', { json: cut([gpt4('').slice(contractions.length + 1)]) }],
  ['minicpm5', { json: cut(['\\p{N}{1,3}', gpt4('+')]), ignoreMerges: true }],
  ['laguna', { json: cut(['[^\\n]+|[\\n]+', gpt4('')]) }],
  [
    'seed-coder',
    {
      json: cut([`${contractions}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|${spaces}`]),
    },
  ],
  ['tekken', { json: cut([cased('', '')]), ignoreMerges: true, addBos: true }],
  ['gpt-4o llama4 kanana2 talkie minimax-m2', { json: gpt4o }],
  ['deepseek-v3 hunyuan-dense joyai-llm hy_v4', { json: deepseekV3 }],
  [
    'deepseek-llm',
    {
      json: cut([
        '[\\r\\n]',
        `\\s?[${casedLetters}]+`,
        '\\s?[!-/:-~\\uff01-\\uff0f\\uff1a-\\uff5e\\u2018-\\u201f\\u3000-\\u3002]+',
        lastSpaces,
        eastAsian,
        '\\p{N}+',
      ]),
    },
  ],
  ['deepseek-coder', { json: cut(['[\\r\\n]', '\\s?\\p{L}+', '\\s?\\p{P}+', eastAsian, '\\p{N}']) }],
  ['falcon', { json: cut(['[\\p{P}\\$\\+<=>\\^~\\|`]+', gpt2Words(), '[0-9][0-9][0-9]']) }],
  ['bailingmoe bailingmoe2 llada-moe', { json: bailing }],
  ['glm5', { json: llama3, ignoreMerges: true }],
  ['granite-embed-multi-97m', { json: gpt4o, ignoreMerges: true }],
  ['youtu', { json: cut([youtu, cased(`${contractions}?`, '')]), ignoreMerges: true }],
  [
    'spark2_5',
    {
      json: cut([
        '\\p{N}{1,3}',
        hanAndKana,
        `${asciiSigns}[A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+|[\\r\\n]|\\s+(?!\\S)|\\s+`,
        '\\p{N}',
      ]),
    },
  ],
  ['viking', { json: cut([words, '\\p{N}']) }],
  ['poro-chat bloom gpt3-finnish', { json: cut([words]) }],
]

/** Rules by the names of `tokenizer.ggml.pre`. */
export const preTokenizers: ReadonlyMap<string, PreTokenizer> = new Map(
  groups.flatMap(([names, pre]) => names.split(' ').map((name) => [name, pre] as const)),
)
