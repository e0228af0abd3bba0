/**
 * The 400 texts of test/vectors/tokenizers.json in OpenAI's vocabularies, by js-tiktoken and by us:
 *
 *     (cd FOLDER && npm install js-tiktoken) && node test/suites/tiktoken-main.ts FOLDER
 *
 * Texts with U+FEFF are expected to differ: js-tiktoken takes it for white space, as JavaScript does; tiktoken and `tokenizers` do not.
 */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { resolve } from 'node:path'
import { preTokenizers } from '../../src/model/pre-tokenizers.ts'
import { byteLevelLetters } from '../../src/tokens/byte-level.ts'
import { createTokenizer } from '../../src/tokens/tokenizer.ts'
import { specOf } from '../helpers/tokenizer-spec.ts'

interface Ranks {
  readonly pat_str: string
  /** Lines of the form `! first-rank token token ...`, in base64. */
  readonly bpe_ranks: string
}

/** Letters of the alphabet of GPT-2 (`bytes_to_unicode`), by byte. */
const letterOf = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte))
for (let byte = 0, next = 0x100; byte < 256; byte++) {
  const prints = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae
  if (!prints) letterOf[byte] = String.fromCharCode(next++)
}
if (byteLevelLetters('é \n') !== [0xc3, 0xa9, 0x20, 0x0a].map((byte) => letterOf[byte]).join(''))
  throw new Error('the alphabet is not ours')

function vocabularyOf({ bpe_ranks }: Ranks): Record<string, number> {
  const vocab: Record<string, number> = Object.create(null)
  for (const line of bpe_ranks.split('\n').filter(Boolean)) {
    const [, first, ...tokens] = line.split(' ')
    for (const [at, token] of tokens.entries())
      vocab[Array.from(Buffer.from(token, 'base64'), (byte) => letterOf[byte]).join('')] = Number(first) + at
  }
  return vocab
}

/** Returns the merges: a token's last merge joins the two parts that lower ranks give. */
function mergesOf(vocab: Readonly<Record<string, number>>): [string, string][] {
  const merges: [string, string][] = []
  for (const [token, rank] of Object.entries(vocab).sort(([, a], [, b]) => a - b)) {
    const parts = [...token]
    while (parts.length > 2) {
      const unions = parts.slice(1).map((part, at) => vocab[parts[at] + part] ?? rank)
      const least = Math.min(...unions)
      if (least >= rank) break
      const at = unions.indexOf(least)
      parts.splice(at, 2, parts[at]! + parts[at + 1]!)
    }
    if (parts.length === 2) merges.push(parts as [string, string])
  }
  return merges
}

const split = (pattern: string) => ({
  type: 'Sequence',
  pretokenizers: [
    { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false },
    { type: 'ByteLevel', add_prefix_space: false, use_regex: false },
  ],
})

const load = createRequire(`${resolve(process.argv[2] ?? '.')}/x.js`)
const golden: { texts: [string, number][][] } = JSON.parse(
  readFileSync(new URL('../vectors/tokenizers.json', import.meta.url), 'utf8'),
)
// js-tiktoken takes time quadratic in a word's length.
const texts = golden.texts.map((pieces) => pieces.map(([piece, times]) => piece.repeat(Math.min(times, 300))).join(''))
const { Tiktoken } = load('js-tiktoken/lite')
let failed = 0
for (const [name, pre] of [['cl100k_base'], ['o200k_base', 'gpt-4o'], ['gpt2', 'gpt-2']] as const) {
  const loaded = load(`js-tiktoken/ranks/${name}`)
  const ranks: Ranks = loaded.default ?? loaded
  const reference = new Tiktoken(ranks)
  const vocab = vocabularyOf(ranks)
  const model = { type: 'BPE', vocab, merges: mergesOf(vocab), ignore_merges: name !== 'gpt2' }
  const cut = pre ? preTokenizers.get(pre)!.json : split(ranks.pat_str)
  const json = { model, added_tokens: [], normalizer: null, pre_tokenizer: cut, decoder: { type: 'ByteLevel' } }
  const { encode } = createTokenizer(specOf(json))
  const differing = texts.filter((text) => encode(text).join() !== reference.encode(text, [], []).join())
  const unargued = differing.filter((text) => !text.includes('\ufeff'))
  for (const text of unargued) console.log(`${name}: ${JSON.stringify(text.slice(0, 80))}`)
  console.log(`${name}: ${differing.length} of ${texts.length} texts differ, ${unargued.length} without U+FEFF`)
  failed += unargued.length
}
process.exitCode = failed > 0 ? 1 : 0
