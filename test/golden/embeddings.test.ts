/** Embeddings of a tiny random Qwen3 against sentence-transformers, and scores of a tiny reranker against transformers. */
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { EmbedOptions, Engine } from '../../src/index.ts'
import { cosine } from '../helpers/cosine.ts'
import { softwareBackend } from '../helpers/webgpu.ts'
import { loadFolder, readGolden, vectors } from './golden.ts'

interface Case {
  readonly name: string
  readonly texts: readonly string[]
  readonly vectors: readonly (readonly number[])[]
}

const { cases } = readGolden<{ cases: readonly Case[] }>('tiny-embedding-qwen3/golden.json', 'embeddings')
const named = (name: string) => cases.find((one) => one.name === name)!
const path = (file = '') => fileURLToPath(new URL(`tiny-embedding-qwen3/${file}`, vectors))

async function compare(engine: Engine, { texts, vectors }: Case, options: EmbedOptions, least: number): Promise<void> {
  const found = await engine.embed(texts, options)
  expect(found.vectors).toHaveLength(texts.length)
  found.vectors.forEach((vector, index) => {
    expect(vector).toHaveLength(vectors[index]!.length)
    expect(cosine(vector, vectors[index]!), texts[index]).toBeGreaterThan(least)
    expect(cosine(vector, vector)).toBeCloseTo(1)
    expect(Math.hypot(...vector)).toBeCloseTo(1, 5)
  })
}

describe.each([
  { file: '', build: 'simd128', prompts: true },
  { file: '', build: 'relaxed', prompts: true },
  { file: 'gguf/tiny-embedding-qwen3-f16.gguf', build: 'simd128', prompts: false },
] as const)('a tiny Qwen3 embedding model, $file $build', ({ file, build, prompts }) => {
  let engine: Engine
  beforeAll(async () => {
    engine = await loadFolder(path(file), { build, passTokens: 64 })
  })
  afterAll(() => engine?.close())

  test('pools the last token, as its files say', () => compare(engine, named('document'), {}, 0.9999))
  test('pools the mean', () => compare(engine, named('mean'), { pooling: 'mean' }, 0.9999))
  test('pools the first token', () => compare(engine, named('cls'), { pooling: 'cls' }, 0.9999))
  test('puts a prompt before queries', () =>
    compare(
      engine,
      named('query'),
      prompts ? { kind: 'query' } : { prefix: 'Instruct: find the answer\nQuery:' },
      0.9999,
    ))
  test('embeds documents as they are', () => compare(engine, named('document'), { kind: 'document' }, 0.9999))
})

test('WebGPU, in software, gives the same vectors, beside an answer too', async () => {
  const engine = await loadFolder(path(), { passTokens: 64, backend: await softwareBackend() })
  try {
    await compare(engine, named('document'), {}, 0.9999)
    await compare(engine, named('mean'), { pooling: 'mean' }, 0.9999)
    await compare(engine, named('cls'), { pooling: 'cls' }, 0.9999)
    const request = { prompt: 'the cat sat', raw: true, maxTokens: 8, ignoreEos: true }
    const alone = await engine.submit(request).result()
    const [answer] = await Promise.all([
      engine.submit(request).result(),
      compare(engine, named('mean'), { pooling: 'mean' }, 0.9999),
    ])
    expect(answer.ids).toEqual(alone.ids)
  } finally {
    await engine.close()
  }
})

test('a tiny Qwen3 embedding model in 4 bits agrees with its dequantised weights', async () => {
  const engine = await loadFolder(path('gguf/tiny-embedding-qwen3-q4_0.gguf'), { passTokens: 64 })
  try {
    await compare(engine, named('q4_0'), {}, 0.995)
  } finally {
    await engine.close()
  }
})

interface RankCase {
  /** The instruction. */
  readonly name: string
  readonly query: string
  readonly documents: readonly string[]
  readonly scores: readonly number[]
}

test('a tiny Qwen3 reranker gives the scores of its model card', async () => {
  const { cases } = readGolden<{ cases: readonly RankCase[] }>('tiny-reranker-qwen3/golden.json', 'rerank')
  const engine = await loadFolder(fileURLToPath(new URL('tiny-reranker-qwen3', vectors)), { passTokens: 64 })
  try {
    for (const [index, { name, query, documents, scores }] of cases.entries()) {
      const found = await engine.rerank(query, documents, index === 0 ? {} : { instruction: name })
      found.scores.forEach((score, at) => {
        expect(score).toBeCloseTo(scores[at]!, 3)
      })
    }
    expect(engine.stats.cached_tokens).toBeGreaterThan(500)
  } finally {
    await engine.close()
  }
})
