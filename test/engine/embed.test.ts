/** Embeddings among other requests: the same bits however texts are packed, and nothing held after any end. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadWasm } from '../../node/index.ts'
import { type EmbedOptions, Engine, type EngineOptions } from '../../src/index.ts'
import type { WrittenTensor } from '../helpers/gguf-writer.ts'
import { tinyFolder } from '../helpers/tiny-folder.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'

const load = async (options: Partial<EngineOptions> = {}, metadata = {}) =>
  Engine.load(tinyFiles({ context: 1024, metadata: { 'llama.pooling_type': { u32: 3 }, ...metadata } }), {
    wasm: await loadWasm('simd128', 1),
    threads: 1,
    ...options,
  })

const texts = Array.from({ length: 24 }, (_, i) => 'word '.repeat(1 + ((i * 7) % 23)) + i)

/** A list with a hole, which is not even undefined. */
const sparse = ['a']
sparse[2] = 'c'

/** Pages that no prefix keeps: those of running requests. */
const held = ({ stats }: Engine) => stats.pages_in_use - stats.prefix_pages

describe('embeddings', () => {
  let engine: Engine
  beforeAll(async () => {
    engine = await load({ passTokens: 64 })
  })
  afterAll(() => engine?.close())

  test.each(['last', 'mean', 'cls'] as const)(
    'have the same bits packed, alone and beside an answer: %s',
    async (pooling) => {
      const { vectors, tokens } = await engine.embed(texts, { pooling })
      expect(tokens).toEqual(texts.map((text) => text.length))
      const answer = engine.submit({ prompt: 'go on', maxTokens: 60, ignoreEos: true })
      const result = answer.result()
      const beside = await engine.embed(texts, { pooling })
      answer.cancel()
      await result.catch(() => {})
      for (const [index, text] of texts.entries()) {
        const alone = await engine.embed(text, { pooling })
        expect(alone.vectors[0]).toEqual(vectors[index])
        expect(beside.vectors[index]).toEqual(vectors[index])
      }
      expect(held(engine)).toBe(0)
    },
  )

  test('have the same bits in passes of any size', async () => {
    const { vectors } = await engine.embed(texts, { pooling: 'mean' })
    const other = await load({ passTokens: 16 })
    try {
      expect((await other.embed(texts, { pooling: 'mean' })).vectors).toEqual(vectors)
    } finally {
      await other.close()
    }
  })

  test('share passes, and leave nothing in the prefix cache', async () => {
    const before = engine.stats
    await engine.embed(texts)
    const after = engine.stats
    const tokens = texts.reduce((sum, { length }) => sum + length, 0)
    expect(after.prefill_tokens - before.prefill_tokens).toBe(tokens)
    expect(after.passes - before.passes).toBeLessThan(tokens / 64 + 4)
    expect(after.prefix_pages).toBe(before.prefix_pages)
    expect(after.cached_tokens).toBe(before.cached_tokens)
    expect(held(engine)).toBe(0)
  })

  test('do not change the answer beside them', async () => {
    const request = { prompt: 'once upon a time', maxTokens: 24, ignoreEos: true } as const
    const alone = await engine.submit(request).result()
    const [beside] = await Promise.all([engine.submit(request).result(), engine.embed(texts)])
    expect(beside.ids).toEqual(alone.ids)
  })

  test('take token ids as they are', async () => {
    const ids = texts.slice(0, 3).map((text) => engine.tokenize(text))
    const { vectors } = await engine.embed(texts.slice(0, 3))
    expect((await engine.embed(ids)).vectors).toEqual(vectors)
    expect((await engine.embed(ids[0]!)).vectors).toEqual([vectors[0]])
    expect(await engine.embed([])).toEqual({ vectors: [], tokens: [] })
  })

  test('are cut to fewer dimensions and scaled again, or left as they are', async () => {
    const [whole, cut, raw] = await Promise.all(
      [{}, { dimensions: 10 }, { normalize: false }].map((options) => engine.embed('a text', options)),
    )
    const factor = Math.hypot(...whole!.vectors[0]!.subarray(0, 10))
    expect(Math.hypot(...cut!.vectors[0]!)).toBeCloseTo(1)
    cut!.vectors[0]!.forEach((value, i) => {
      expect(value).toBeCloseTo(whole!.vectors[0]![i]! / factor)
    })
    expect(Math.hypot(...raw!.vectors[0]!)).toBeGreaterThan(1.5)
  })

  test('report progress', async () => {
    const seen: number[] = []
    await engine.embed(texts.slice(0, 5), { onProgress: (done, total) => seen.push(done * 100 + total) })
    expect(seen).toEqual([105, 205, 305, 405, 505])
  })

  test.each<[string, unknown, EmbedOptions, RegExp]>([
    ['a number', 7, {}, /the texts is 7; it must be a list/],
    ['a hole', ['a', null], {}, /texts\[1\] is null/],
    ['a hole without anything', sparse, {}, /texts\[1\] is undefined/],
    ['an id outside the vocabulary', [[1, 99_999]], {}, /texts\[0\]\[1\]: 99999 is not a token id/],
    ['an empty text', '', {}, /the text has no tokens/],
    ['an empty text behind a prefix', ['a', ''], { prefix: 'query: ' }, /text 1 has no tokens/],
    ['an empty text among others', ['a', ''], {}, /text 1 has no tokens/],
    ['an empty list of ids', [[]], {}, /text 0 has no tokens/],
    ['a text alone beyond the context', 'long '.repeat(300), {}, /^the text has more than 1024 tokens/],
    ['a text beyond the context', ['a', 'long '.repeat(300)], {}, /text 1 has more than 1024 tokens/],
    ['too many dimensions', 'a', { dimensions: 257 }, /dimensions is 257; it must be a whole number from 1 to 256/],
    ['no dimension', 'a', { dimensions: 0 }, /from 1 to 256/],
    ['another pooling', 'a', { pooling: 'max' as never }, /pooling is "max"; it must be one of last, mean, cls/],
    [
      'a prompt that the model does not have',
      'a',
      { kind: 'query' },
      /has no prompt named "query"; its files have none/,
    ],
    ['a normalize that is no flag', 'a', { normalize: 'yes' as never }, /normalize is "yes"/],
    ['a signal that is none', 'a', { signal: {} as never }, /signal is of type object/],
    ['a callback that is none', 'a', { onProgress: 3 as never }, /onProgress must be a function/],
  ])('are refused for %s, and hold nothing', async (_, input, options, message) => {
    await expect(engine.embed(input as string, options)).rejects.toThrow(message)
    expect(held(engine)).toBe(0)
    expect(engine.stats.waiting + engine.stats.running).toBe(0)
  })
})

describe('an end from inside or outside', () => {
  let engine: Engine
  beforeAll(async () => {
    engine = await load({ passTokens: 32 })
  })
  afterAll(() => engine?.close())

  const idle = () => {
    expect(held(engine)).toBe(0)
    expect(engine.stats.waiting + engine.stats.running).toBe(0)
  }

  test('a signal that has aborted computes nothing', async () => {
    const { passes } = engine.stats
    await expect(engine.embed(texts, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'aborted' })
    expect(engine.stats.passes).toBe(passes)
  })

  test('a cancel from the callback ends all texts at once', async () => {
    const control = new AbortController()
    const calls: number[] = []
    const onProgress = (done: number) => {
      calls.push(done)
      if (done === 3) control.abort()
    }
    await expect(engine.embed(texts, { signal: control.signal, onProgress })).rejects.toMatchObject({ code: 'aborted' })
    expect(calls.length).toBeLessThan(texts.length)
    idle()
  })

  test('a callback that throws or rejects fails the call, and nothing else', async () => {
    const answer = engine.submit({ prompt: 'hello', maxTokens: 30, ignoreEos: true }).result()
    const fails = (): never => {
      throw new Error('mine')
    }
    await expect(engine.embed(texts, { onProgress: fails })).rejects.toThrow(/onProgress failed: mine/)
    await expect(engine.embed(texts, { onProgress: async () => fails() })).rejects.toThrow(/onProgress failed: mine/)
    expect((await answer).ids).toHaveLength(30)
    idle()
  })

  test('a callback may embed and answer', async () => {
    let inner: Promise<unknown> | undefined
    await engine.embed(texts.slice(0, 4), {
      onProgress: () => {
        inner ??= Promise.all([engine.embed('inside'), engine.submit({ prompt: 'x', maxTokens: 2 }).result()])
      },
    })
    await inner
    idle()
  })

  test('closing the engine ends the call', async () => {
    const other = await load({ passTokens: 32 })
    const onProgress = (done: number) => {
      if (done === 2) void other.close()
    }
    await expect(other.embed(texts, { onProgress })).rejects.toMatchObject({ code: 'aborted' })
    await expect(other.embed('late')).rejects.toMatchObject({ code: 'aborted' })
  })

  test('preemption begins a text again', async () => {
    // Pages for one context only: answers of another tenant and texts take them from each other.
    const small = await load({ passTokens: 32, kvTokens: 256, context: 256, prefixBytes: 0 })
    try {
      const { vectors } = await small.embed(texts, { pooling: 'mean' })
      const answers = Array.from({ length: 6 }, (_, i) =>
        small.submit({ prompt: 'p'.repeat(20 + i), maxTokens: 60, ignoreEos: true, tenant: 'other' }).result(),
      )
      const beside = await small.embed(texts, { pooling: 'mean' })
      await Promise.all(answers)
      expect(beside.vectors).toEqual(vectors)
      expect(small.stats.pages_in_use).toBe(0)
    } finally {
      await small.close()
    }
  })
})

describe('a model', () => {
  const folder = async (files: Readonly<Record<string, unknown>>) =>
    Engine.load(tinyFolder({ files }), { wasm: await loadWasm('simd128', 1), threads: 1 })

  test('without a pooling is refused by name, unless one is chosen', async () => {
    const engine = await load({}, { 'llama.pooling_type': { u32: 0 } })
    try {
      await expect(engine.embed('a')).rejects.toThrow(
        /tiny is not an embedding model: its files name no pooling; .*pooling \(last, mean, cls\)/,
      )
      expect((await engine.embed('a', { pooling: 'last' })).vectors[0]).toHaveLength(256)
    } finally {
      await engine.close()
    }
  })

  test.each<[string, Readonly<Record<string, unknown>>, RegExp]>([
    [
      'dense layers',
      { 'modules.json': [{ type: 'sentence_transformers.models.Dense', path: '2_Dense' }] },
      /modules.json has "Dense", which is not computed/,
    ],
    [
      'another pooling',
      { '1_Pooling/config.json': { pooling_mode_max_tokens: true } },
      /its pooling is "max_tokens"; last, mean, cls are computed/,
    ],
    ['two poolings', { '1_Pooling/config.json': { pooling_mode: ['mean', 'max'] } }, /its pooling is "mean and max"/],
    [
      'a prompt that is left out',
      { '1_Pooling/config.json': { pooling_mode: 'mean', include_prompt: false } },
      /leaves out the tokens of the prompt/,
    ],
    ['modules that are none', { 'modules.json': { a: 1 } }, /is not a list of modules/],
    ['a module whose file is missing', { 'modules.json': [{ type: 'x.Pooling', path: '9_P' }] }, /has no file 9_P/],
  ])('with %s still answers, and refuses embeddings by name', async (_, files, message) => {
    const engine = await folder(files)
    try {
      await expect(engine.embed('a')).rejects.toMatchObject({
        code: 'unsupported',
        message: expect.stringMatching(message),
      })
      expect((await engine.submit({ prompt: 'a', raw: true, maxTokens: 2 }).result()).ids.length).toBeGreaterThan(0)
    } finally {
      await engine.close()
    }
  })

  test('without Normalize gives vectors as they are', async () => {
    const engine = await folder({ '1_Pooling/config.json': { pooling_mode: 'mean' } })
    try {
      const [plain, scaled] = [await engine.embed('abc'), await engine.embed('abc', { normalize: true })]
      expect(Math.hypot(...plain.vectors[0]!)).toBeGreaterThan(1.1)
      expect(Math.hypot(...scaled.vectors[0]!)).toBeCloseTo(1)
    } finally {
      await engine.close()
    }
  })

  test('takes its default prompt, and names the prompts that it has', async () => {
    const prompts = { query: 'Q: ', passage: 'P: ' }
    const engine = await folder({
      '1_Pooling/config.json': { pooling_mode: 'mean' },
      'config_sentence_transformers.json': { prompts, default_prompt_name: 'passage' },
    })
    try {
      const vector = async (text: string, options?: EmbedOptions) => (await engine.embed(text, options)).vectors[0]
      const plain = { prefix: '' }
      expect(await vector('abc')).toEqual(await vector('P: abc', plain))
      expect(await vector('abc', { kind: 'query' })).toEqual(await vector('Q: abc', plain))
      expect(await vector('abc', { kind: 'document' })).toEqual(await vector('abc', plain))
      await expect(vector('abc', { kind: 'task' })).rejects.toThrow(/no prompt named "task"; it has query, passage/)
    } finally {
      await engine.close()
    }
  })

  test('of ranks is read as llama.cpp writes it, and is asked for yes or no', async () => {
    const metadata = { 'qwen3.pooling_type': { u32: 4 }, 'qwen3.classifier.output_labels': { texts: ['yes', 'no'] } }
    const rows = { name: 'cls.output.weight', type: 'f32' as const, dims: [256, 2], bytes: new Uint8Array(2048) }
    const options = { architecture: 'qwen3', metadata, tensors: (all: WrittenTensor[]) => [...all, rows] }
    const wasm = await loadWasm('simd128', 1)
    const engine = await Engine.load(tinyFiles(options), { wasm, threads: 1 })
    try {
      await expect(engine.embed('a')).rejects.toThrow(/is not an embedding model/)
      // Its vocabulary has bytes only.
      await expect(engine.rerank('q', ['d'])).rejects.toThrow(/tiny has no token yes: only rerankers are run/)
    } finally {
      await engine.close()
    }
    const other = { ...options, metadata: { ...metadata, 'qwen3.pooling_type': { u32: 3 } } }
    await expect(Engine.load(tinyFiles(other), { wasm, threads: 1 })).rejects.toThrow(/no use for: cls\.output\.weight/)
  })

  test('of chats refuses to rank', async () => {
    const engine = await load()
    try {
      await expect(engine.rerank('q', ['d'])).rejects.toThrow(/tiny is not a reranker by its name and file/)
      await expect(engine.rerank('q', ['d'], { force: true })).rejects.toThrow(/has no token yes/)
    } finally {
      await engine.close()
    }
  })
})
