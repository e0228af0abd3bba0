/**
 * Compares 400 texts with Hugging Face's `tokenizers` and llama.cpp, whose results are hashes in
 * test/vectors/tokenizers.json (tokenizers.py).
 */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { fileSource, findModel } from '../../node/index.ts'
import type { TokenizerSpec } from '../../src/base/model.ts'
import { readGguf } from '../../src/model/gguf.ts'
import { readGgufTokenizer } from '../../src/model/gguf-tokenizer.ts'
import { MetadataReader } from '../../src/model/metadata.ts'
import { preTokenizers } from '../../src/model/pre-tokenizers.ts'
import { createTokenizer } from '../../src/tokens/tokenizer.ts'
import { readGolden } from '../golden/golden.ts'
import { smallSpec } from '../helpers/small-bpe.ts'
import { cut } from '../suites/words.ts'

const golden = readGolden<{
  /** Each text in pieces, with the number of their repetitions. */
  readonly texts: readonly (readonly (readonly [piece: string, times: number])[])[]
  /** Hashes of each text's ids, by vocabulary. */
  readonly hashes: Readonly<Record<string, readonly string[]>>
  /** Hashes of the words of every ten texts, by name of `tokenizer.ggml.pre`. */
  readonly words: Readonly<Record<string, readonly string[]>>
}>('tokenizers.json', 'tokenizers')
const texts = golden.texts.map((pieces) => pieces.map(([piece, times]) => piece.repeat(times)).join(''))

const digest = (value: unknown) => createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 8)

const vectors = (name: string) =>
  fileURLToPath(new URL(`../../../shared/data/tokenizers/ggml-vocab-${name}.gguf`, import.meta.url))
const smollm2 = process.env.FORETOKEN_TEST_MODEL ?? (await findModel('smollm2-135m'))?.files[0]?.path
const files: Readonly<Record<string, string | undefined>> = {
  'gpt-2': vectors('gpt-2'),
  'llama-spm': vectors('llama-spm'),
  smollm2,
}

async function specOf(name: string): Promise<TokenizerSpec> {
  if (name === 'small') return smallSpec()
  const source = await fileSource(files[name]!)
  try {
    const { metadata } = await readGguf(source)
    return (await readGgufTokenizer(new MetadataReader(metadata, name), 1 << 20)).spec
  } finally {
    await source.close()
  }
}

test('there are 400 texts, all different', () => {
  expect(new Set(texts).size).toBe(400)
  expect(texts.filter(({ length }) => length >= 9_999).length).toBeGreaterThanOrEqual(15)
})

describe('ids', () => {
  for (const [name, wanted] of Object.entries(golden.hashes)) {
    const vocabulary = name.split(' ')[0]!
    const missing = vocabulary !== 'small' && !(files[vocabulary] && existsSync(files[vocabulary]))
    test.skipIf(missing)(`${name}: 400 of 400 texts have the reference's ids`, async () => {
      const { encode } = createTokenizer(await specOf(vocabulary))
      const differing = texts.filter((text, at) => digest(encode(text, { special: true })) !== wanted[at])
      expect(differing.map((text) => text.slice(0, 80))).toEqual([])
    })
  }
})

describe('words', () => {
  test.each(Object.keys(golden.words))('%s: split as in the reference', (name) => {
    const { json } = preTokenizers.get(name)!
    const words = texts.map((text) => cut(json as Record<string, unknown>, text))
    const ours = golden.words[name]!.map((_, at) => digest(words.slice(10 * at, 10 * at + 10)))
    expect(ours.flatMap((hash, at) => (hash === golden.words[name]![at] ? [] : [at]))).toEqual([])
  })
})
