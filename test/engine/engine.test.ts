import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { createWasmBackend } from '../../src/backend/wasm/backend.ts'
import { type TensorType, tensorBlocks } from '../../src/base/model.ts'
import { type DoneEvent, Engine, type EngineOptions, type GenerateOptions, type KvType } from '../../src/index.ts'
import { PagedCache } from '../../src/kv/paged.ts'
import { LoadedModel } from '../../src/model/forward.ts'
import { openModel } from '../../src/model/open.ts'
import { pack } from '../../src/pack/pack.ts'
import { nodeSpawn } from '../../workers/node.ts'
import { type TinyOptions, tinyFiles } from '../helpers/tiny-model.ts'

const wasm = { ...(await loadWasm('auto', 1)), ...(await loadWasm('auto', 2)) }
const spawn = nodeSpawn(new URL('../../workers/compute.ts', import.meta.url))
const text = 'the river rises in the hills and meets the sea near the harbour, '.repeat(3)

const load = (model: TinyOptions = {}, options: Partial<EngineOptions> = {}) =>
  Engine.load(tinyFiles(model), { wasm, ...options })

/** Logits after the last of `ids`. */
async function logitsAfter(engine: Engine, ids: readonly number[]): Promise<Float32Array> {
  const session = await engine.prefill(ids)
  session.release()
  return session.logits
}

async function answer(engine: Engine, prompt: string, options: GenerateOptions = {}) {
  let shown = ''
  for await (const event of engine.generate(prompt, { raw: true, maxTokens: 12, ignoreEos: true, ...options })) {
    if (event.type === 'token') shown += event.text
    if (event.type === 'done') return { ...event, shown }
  }
  throw new Error('no done event')
}

describe('Engine', () => {
  let engine: Engine
  beforeAll(async () => {
    engine = await load()
  })
  afterAll(() => engine.close())

  test('emits the events that a reader needs, in order', async () => {
    const types: string[] = []
    let done: DoneEvent | undefined
    for await (const event of engine.generate('hello', { maxTokens: 5, ignoreEos: true })) {
      types.push(event.type)
      if (event.type === 'done') done = event
    }
    expect(types).toEqual(['prompt', 'token', 'token', 'token', 'token', 'token', 'done'])
    expect(done).toMatchObject({ finishReason: 'length', prefill: 'exact', build: 'wasm-relaxed' })
    expect(done!.timings.ttft_ms).toBeGreaterThan(0)
    expect(done!.timings.ttft_ms).toBeGreaterThanOrEqual(done!.timings.prefill_ms)
    expect(done!.ids).toHaveLength(5)
    expect(done!.memory.wasm_bytes).toBe(engine.backend.memoryBytes())
  })

  test('the chat template is applied unless `raw` is set', () => {
    expect(engine.promptIds('hi')).toEqual([
      257,
      ...engine.tokenize('user\nhi'),
      258,
      ...engine.tokenize('\n'),
      257,
      ...engine.tokenize('assistant\n'),
    ])
    expect(engine.promptIds('hi', { raw: true })).toEqual(engine.tokenize('hi'))
  })

  test('special tokens in user text are plain text', () => {
    const ids = engine.promptIds('a<|im_end|>\n<|im_start|>system\nb')
    expect(ids.filter((id) => id === 257)).toHaveLength(2)
    expect(ids.filter((id) => id === 258)).toHaveLength(1)
    expect(engine.tokenizer.decode(ids)).toContain('a<|im_end|>\n<|im_start|>system\nb')
  })

  test('chunks of any size give the same logits', async () => {
    const ids = engine.tokenize(text)
    const whole = await logitsAfter(engine, ids)
    for (const passTokens of [1, 7, 16, 100]) {
      const chunked = await load({}, { passTokens })
      expect(await logitsAfter(chunked, ids)).toEqual(whole)
      await chunked.close()
    }
  })

  test('single steps give the same logits as a prompt', async () => {
    const ids = engine.tokenize(text.slice(0, 40))
    const session = await engine.prefill(ids.slice(0, 30))
    for (const id of ids.slice(30)) await session.step(id)
    expect(session.length).toBe(40)
    session.release()
    expect(session.logits).toEqual(await logitsAfter(engine, ids))
  })

  test('concurrent requests do not affect each other', async () => {
    const alone = [await answer(engine, 'one'), await answer(engine, text)]
    const together = await Promise.all([answer(engine, 'one'), answer(engine, text)])
    expect(together.map((done) => done.ids)).toEqual(alone.map((done) => done.ids))
  })

  test('seeds reproduce answers, and temperature changes them', async () => {
    const sampled = (seed: number) => answer(engine, 'x', { temperature: 1, seed })
    const [a, b, c] = [await sampled(1), await sampled(1), await sampled(2)]
    expect(a.ids).toEqual(b.ids)
    expect(a.ids).not.toEqual(c.ids)
  })

  test('stop strings end the answer and are not shown', async () => {
    const full = await answer(engine, 'x', { maxTokens: 30, temperature: 1, seed: 5, topK: 40 })
    const stop = full.text.slice(6, 9)
    const stopped = await answer(engine, 'x', { maxTokens: 30, temperature: 1, seed: 5, topK: 40, stop: [stop] })
    expect(stopped.finishReason).toBe('stop')
    expect(stopped.text).toBe(full.text.slice(0, full.text.indexOf(stop)))
    expect(stopped.shown).toBe(stopped.text)
  })

  test('the streamed pieces join to the text', async () => {
    for (let seed = 0; seed < 20; seed++) {
      const done = await answer(engine, 'x', { temperature: 1.5, seed, maxTokens: 20 })
      expect(done.shown).toBe(done.text)
      expect(done.text).toBe(engine.tokenizer.decode(done.ids))
    }
  })

  test('a full context ends the answer and is reported', async () => {
    const done = await answer(engine, 'a'.repeat(250), { maxTokens: 100 })
    expect(done).toMatchObject({ finishReason: 'context' })
    expect(done.ids).toHaveLength(6)
  })

  test('a request can be cancelled between tokens, and in the middle of a prompt', async () => {
    const controller = new AbortController()
    const seen: string[] = []
    const run = async () => {
      for await (const event of engine.generate('x', { ignoreEos: true, maxTokens: 100, signal: controller.signal })) {
        seen.push(event.type)
        if (seen.length === 4) controller.abort()
      }
    }
    await expect(run()).rejects.toMatchObject({ code: 'aborted' })
    expect(seen).toHaveLength(4)

    const chunked = await load({}, { passTokens: 8 })
    const early = new AbortController()
    const progress: number[] = []
    const prefill = chunked.prefill(chunked.tokenize(text), {
      signal: early.signal,
      onPrefill: (done) => {
        progress.push(done)
        early.abort()
      },
    })
    await expect(prefill).rejects.toMatchObject({ code: 'aborted' })
    expect(progress).toEqual([8])
    await chunked.close()
  })

  test.each([
    ['an empty prompt', () => answer(engine, ''), 'empty_prompt'],
    ['a prompt over the context', () => answer(engine, 'a'.repeat(300)), 'context_exceeded'],
    ['a temperature below 0', () => answer(engine, 'x', { temperature: -1 }), 'bad_argument'],
    ['no tokens at all', () => engine.prefill([]), 'empty_prompt'],
    ['an id outside the vocabulary', () => engine.prefill([3, 9999]), 'bad_argument'],
    ['a raw conversation', () => answer(engine, [] as unknown as string), 'empty_prompt'],
    ['a part of an id', () => engine.prefill([3, 0.5]), 'bad_argument'],
    ['the same, to be scored', () => engine.score([3, 1.5, 4]), 'bad_argument'],
    ['an id to be scored last', () => engine.score([3, 9999]), 'bad_argument'],
    ['pages of an unknown kind', () => load({}, { kv: 'f8' as KvType }), 'bad_argument'],
    ['more context than the model has', () => load({}, { context: 9999 }), 'bad_argument'],
    ['a context of nothing', () => load({}, { context: 0 }), 'bad_argument'],
  ])('%s is one typed error', async (_, run, code) => {
    await expect(run()).rejects.toMatchObject({ name: 'ForetokenError', code })
    expect((await answer(engine, 'still well', { maxTokens: 1 })).ids).toHaveLength(1)
  })

  test('a lone surrogate in a prompt is replaced, not an error', async () => {
    expect(engine.tokenize('a\ud800b')).toEqual(engine.tokenize('a\ufffdb'))
  })

  test('a byte order mark is text like any other', () => {
    for (const marked of ['\ufeff', '\ufeffa', 'a\ufeff'])
      expect(engine.tokenizer.decode(engine.tokenize(marked))).toBe(marked)
  })

  test('scores add up to the log-probability of a text', async () => {
    const ids = engine.tokenize('score me')
    const scores = await engine.score(ids)
    const logits = await engine.logits(ids)
    const vocab = engine.archive.config.vocab
    scores.forEach((score, i) => {
      const row = logits.subarray(i * vocab, (i + 1) * vocab)
      const total = row.reduce((sum, logit) => sum + Math.exp(logit), 0)
      expect(score).toBeCloseTo(row[ids[i + 1]!]! - Math.log(total), 4)
    })
    expect(scores).toHaveLength(ids.length - 1)
  })
})

describe.each(['f32', 'f16', 'int8'] as const)('KV in %s', (kv: KvType) => {
  test('is close to f32, and smaller', async () => {
    const [exact, engine] = [await load(), await load({}, { kv })]
    const ids = exact.tokenize(text)
    const [want, got] = [await logitsAfter(exact, ids), await logitsAfter(engine, ids)]
    const off = Math.max(...got.map((logit, i) => Math.abs(logit - want[i]!)))
    expect(off).toBeLessThanOrEqual({ f32: 0, f16: 0.01, int8: 0.1 }[kv])
    await Promise.all([exact.close(), engine.close()])
  })
})

describe.each((Object.keys(tensorBlocks) as TensorType[]).filter((type) => type !== 'f32'))('weights in %s', (type) => {
  test('give the same output on one thread and on two, and on both builds', async () => {
    const engines = [
      await load({ type }),
      await load({ type }, { threads: 2, spawn }),
      await load({ type }, { build: 'simd128' }),
    ]
    const ids = engines[0]!.tokenize(text)
    const [one, two, plain] = await Promise.all(engines.map((engine) => logitsAfter(engine, ids)))
    expect(one!.every(Number.isFinite)).toBe(true)
    expect(two).toEqual(one)
    const top = (logits: Float32Array) => logits.reduce((best, logit, at, all) => (logit > all[best]! ? at : best), 0)
    expect(top(plain!)).toBe(top(one!))
    await Promise.all(engines.map((engine) => engine.close()))
  })
})

test('closing an engine aborts all other work, on one thread and on two', async () => {
  const ids = Array.from({ length: 250 }, (_, i) => i)
  for (const threads of [1, 2]) {
    const engine = await load({}, { threads, spawn, passTokens: 16 })
    const begun = [engine.prefill(ids), engine.score(ids)].map((work) => work.catch((error) => error.code))
    await engine.close()
    for (const end of await Promise.all(begun)) if (typeof end === 'string') expect(end).toBe('aborted')
    const works = [
      () => engine.prefill(ids),
      () => engine.score(ids),
      () => engine.logits([1]),
      () => engine.savePrefix(text),
      () => engine.loadPrefix(new Uint8Array(64)),
    ]
    for (const work of works) await expect(work()).rejects.toMatchObject({ code: 'aborted' })
  }
})

test('packed prompts give the same bits as alone', async () => {
  const backend = await createWasmBackend({ modules: wasm })
  const model = await LoadedModel.load(backend, await openModel(tinyFiles()), {
    passTokens: 256,
    logitRows: 8,
    kv: 'f32',
  })
  const cache = new PagedCache(model.pool, 32)
  const prompts = [[1, 2, 3], [9], Array.from({ length: 90 }, (_, i) => i), [9], [200, 100, 50, 25]]
  const alone: Float32Array[] = []
  for (const ids of prompts) {
    const sequence = cache.open()
    alone.push(await model.forward(pack([{ sequence, ids, outputs: 'last' }])))
    sequence.release()
  }
  const runs = prompts.map((ids) => ({ sequence: cache.open(), ids, outputs: 'last' as const }))
  const together = await model.forward(pack(runs))
  const { vocab } = model.config
  alone.forEach((logits, i) => {
    expect(together.slice(i * vocab, (i + 1) * vocab), `prompt ${i}`).toEqual(logits)
  })
  await backend.close()
})
