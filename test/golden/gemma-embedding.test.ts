/** A tiny random EmbeddingGemma against sentence-transformers: attention both ways, mean, dense layers, prompts, dimensions. */
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { folderFiles } from '../../node/model-files.ts'
import type { EmbedOptions, Engine, ModelFiles } from '../../src/index.ts'
import { cosine } from '../helpers/cosine.ts'
import { softwareBackend } from '../helpers/webgpu.ts'
import { loadFolder, loadGolden, readGolden, vectors } from './golden.ts'

interface Case {
  readonly name: string
  readonly texts: readonly string[]
  readonly vectors: readonly (readonly number[])[]
}

interface Tokens {
  readonly text: string
  readonly ids: readonly number[]
}

const { cases, tokens } = readGolden<{ cases: readonly Case[]; tokens: readonly Tokens[] }>(
  'tiny-gemma-embedding/golden.json',
  'embeddings',
)
const path = (file = '') => fileURLToPath(new URL(`tiny-gemma-embedding/${file}`, vectors))
const gguf = (kind: string) => `gguf/tiny-gemma-embedding-${kind}.gguf`

async function compare(engine: Engine, name: string, options: EmbedOptions, least: number): Promise<void> {
  const { texts, vectors } = cases.find((one) => one.name === name)!
  const found = await engine.embed(texts, options)
  expect(found.vectors).toHaveLength(texts.length)
  found.vectors.forEach((vector, index) => {
    expect(vector).toHaveLength(vectors[index]!.length)
    expect(cosine(vector, vectors[index]!), texts[index]).toBeGreaterThan(least)
    expect(Math.hypot(...vector)).toBeCloseTo(1, 5)
  })
}

describe.each([
  { file: '', build: 'simd128' },
  { file: '', build: 'relaxed' },
  { file: gguf('f16'), build: 'simd128' },
] as const)('a tiny EmbeddingGemma, $file $build', ({ file, build }) => {
  let engine: Engine
  beforeAll(async () => {
    engine = await loadFolder(path(file), { build })
  })
  afterAll(() => engine?.close())

  test('is opened without a warning', () => expect(engine.archive.warnings).toEqual([]))
  test('agrees with the reference', () => compare(engine, 'plain', {}, 0.99999))
  test('puts the prompts of the model card before texts', async () => {
    await compare(engine, 'query', { kind: 'query' }, 0.99999)
    await compare(engine, 'document', { kind: 'document' }, 0.99999)
  })
  test('keeps the first dimensions, and scales them to length 1', () =>
    compare(engine, '24 dimensions', { dimensions: 24 }, 0.99999))
  test('counts the tokens of the reference', async () => {
    const found = await engine.embed(tokens.map(({ text }) => text))
    expect(found.tokens).toEqual(tokens.map(({ ids }) => ids.length))
  })
  test('makes the same vectors of the tokens of the reference', async () => {
    const [byText, byIds] = [tokens.map(({ text }) => text), tokens.map(({ ids }) => ids)]
    expect((await engine.embed(byIds)).vectors).toEqual((await engine.embed(byText)).vectors)
  })
})

describe('a tiny EmbeddingGemma', () => {
  let engine: Engine
  beforeAll(async () => {
    engine = await loadFolder(path(), { build: 'simd128', context: 200 })
  })
  afterAll(() => engine?.close())

  test('has other prompts by name', () => compare(engine, 'Clustering', { kind: 'Clustering' }, 0.99999))

  test('gives the same bits packed, alone and to several tenants at once', async () => {
    const { texts } = cases[0]!
    const many = [...texts, ...texts.toReversed(), ...texts]
    const alone: Float32Array[] = []
    for (const text of texts) alone.push((await engine.embed(text)).vectors[0]!)
    const before = engine.stats.passes
    const found = await Promise.all(
      ['a', 'b', 'c'].map((tenant) => engine.embed(many, { tenant }).then(({ vectors }) => vectors)),
    )
    // 1,026 tokens of each tenant in passes of 200 at most: texts did share passes.
    expect(engine.stats.passes - before).toBeLessThan(3 * many.length)
    for (const vectors of found)
      vectors.forEach((vector, i) => {
        expect(vector, many[i]).toEqual(alone[texts.indexOf(many[i]!)])
      })
  })

  test('has more tokens than a text may have at once refused with the numbers', async () => {
    await expect(engine.embed('the cat sat '.repeat(100))).rejects.toMatchObject({
      code: 'context_exceeded',
      message: expect.stringMatching(/more than 199 tokens, and the context is 200/),
    })
    const ids = new Array<number>(201).fill(40)
    await expect(engine.embed([ids])).rejects.toMatchObject({
      code: 'context_exceeded',
      message: expect.stringMatching(/201 tokens.*200/),
    })
    expect((await engine.embed([ids.slice(0, 200)])).tokens).toEqual([200])
  })

  test('refuses more dimensions than a vector has', async () => {
    await expect(engine.embed('t', { dimensions: 65 })).rejects.toMatchObject({
      code: 'bad_argument',
      message: expect.stringContaining('from 1 to 64'),
    })
  })

  test('refuses everything that asks for a next token, and says what to use', async () => {
    const refused = {
      code: 'unsupported',
      message: expect.stringMatching(/makes embeddings and no answers.*use embed/),
    }
    expect(() => engine.submit({ prompt: 'the cat', raw: true })).toThrow(expect.objectContaining(refused))
    await expect(engine.prefill([5, 6])).rejects.toMatchObject(refused)
    await expect(engine.score([5, 6])).rejects.toMatchObject(refused)
    await expect(engine.logits([5, 6])).rejects.toMatchObject(refused)
    await expect(engine.savePrefix('the cat sat on the mat '.repeat(5))).rejects.toMatchObject(refused)
    await expect(engine.rerank('the cat', ['a mat'], { force: true })).rejects.toMatchObject({ code: 'unsupported' })
  })
})

test('WebGPU, in software, gives the same vectors', async () => {
  const engine = await loadFolder(path(), { backend: await softwareBackend() })
  try {
    await compare(engine, 'plain', {}, 0.9999)
  } finally {
    await engine.close()
  }
})

test('in 4 bits it agrees with its dequantised weights', async () => {
  const engine = await loadFolder(path(gguf('q4_0')), {})
  try {
    await compare(engine, 'q4_0', {}, 0.995)
  } finally {
    await engine.close()
  }
})

/** The files of the folder, some of them changed by `change`. */
async function changed(change: (file: string, json: Record<string, unknown>) => unknown): Promise<ModelFiles> {
  const files = await folderFiles(path())
  return {
    ...files,
    name: 'tiny',
    files: files.files,
    async open(file) {
      const source = await files.open(file)
      if (!file.endsWith('.json') || file === 'tokenizer.json') return source
      const bytes = new Uint8Array(source.size)
      await source.read(0, bytes)
      const text = new TextEncoder().encode(JSON.stringify(change(file, JSON.parse(new TextDecoder().decode(bytes)))))
      return {
        name: source.name,
        size: text.length,
        read: async (offset, into) => into.set(text.subarray(offset, offset + into.length)),
      }
    },
  }
}

describe('a folder that computes something else', () => {
  const open = async (file: string, fields: Record<string, unknown>) => {
    const files = await changed((name, json) => (name === file ? { ...json, ...fields } : json))
    return loadGolden(files, { build: 'simd128' })
  }

  test.each([
    ['2_Dense/config.json', { activation_function: 'torch.nn.modules.activation.Tanh' }, /2_Dense has the activation/],
    ['3_Dense/config.json', { bias: true }, /3_Dense has a bias/],
    ['3_Dense/config.json', { use_residual: true }, /3_Dense has a residual connection/],
    ['1_Pooling/config.json', { pooling_mode_max_tokens: true }, /its pooling is/],
  ])('%s %o is refused by name when it embeds', async (file, fields, message) => {
    const engine = await open(file, fields)
    try {
      await expect(engine.embed('t')).rejects.toMatchObject({
        code: 'unsupported',
        message: expect.stringMatching(message),
      })
    } finally {
      await engine.close()
    }
  })

  test('use_bidirectional_attention that is not a flag is refused as it is opened', async () => {
    await expect(open('config.json', { use_bidirectional_attention: 'text' })).rejects.toMatchObject({
      code: 'bad_model',
      message: expect.stringContaining('use_bidirectional_attention is "text"'),
    })
  })

  test('without use_bidirectional_attention it is a Gemma 3, whose vectors differ', async () => {
    const engine = await open('config.json', { use_bidirectional_attention: false })
    try {
      const { texts, vectors } = cases[0]!
      const found = await engine.embed(texts)
      expect(engine.archive.config.architecture).toBe('gemma3')
      expect(cosine(found.vectors[2]!, vectors[2]!)).toBeLessThan(0.99)
    } finally {
      await engine.close()
    }
  })
})
