/**
 * A model with convolutions beside attention: whatever takes a prompt apart, moves it or begins in
 * the middle of it gives the same answer, because pages hold what a convolution needs.
 */
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { folderFiles } from '../../node/model-files.ts'
import { loadWasm } from '../../node/wasm.ts'
import { Engine, type EngineOptions, type KvType, type WireCodec } from '../../src/index.ts'
import { memorySource } from '../../src/model/source.ts'
import { writePredictor } from '../../src/predict/file.ts'
import { nodeSpawn } from '../../workers/node.ts'
import { randomPrompt } from '../helpers/answers.ts'
import { tinyPredictor } from '../helpers/tiny-predictor.ts'

const wasm = { ...(await loadWasm('auto', 1)), ...(await loadWasm('auto', 2)) }
const spawn = nodeSpawn(new URL('../../workers/compute.ts', import.meta.url))
const folder = fileURLToPath(new URL('../vectors/tiny-lfm2', import.meta.url))
const key = new Uint8Array(32).fill(7)
const long = randomPrompt(70, 1)
const text = 'the river rises in the hills and meets the sea near the harbour'

async function load(options: Partial<EngineOptions> = {}): Promise<Engine> {
  const files = await folderFiles(folder)
  try {
    return await Engine.load(files, { wasm, kv: 'f32', ...options })
  } finally {
    await files.close()
  }
}

async function logitsAfter(engine: Engine, ids: readonly number[]): Promise<Float32Array> {
  const session = await engine.prefill(ids)
  session.release()
  return session.logits
}

describe.each<KvType>(['f32', 'f16', 'int8'])('with K and V in %s', (kv) => {
  let engine: Engine
  let whole: Float32Array
  beforeAll(async () => {
    engine = await load({ kv })
    whole = await logitsAfter(engine, long)
  })
  afterAll(() => engine.close())

  test('chunks and threads give the same result as one pass', async () => {
    for (const options of [{ passTokens: 1 }, { passTokens: 7 }, { passTokens: 16 }, { threads: 2, spawn }]) {
      const other = await load({ kv, ...options })
      expect(await logitsAfter(other, long)).toEqual(whole)
      await other.close()
    }
  })

  test('steps give the same result as a prompt', async () => {
    const session = await engine.prefill(long.slice(0, 15))
    for (const id of long.slice(15)) await session.step(id)
    session.release()
    expect(session.logits).toEqual(whole)
  })

  test.each([16, 17, 18, 33])('a prompt of %i tokens after a cached prefix gives the same answer', async (length) => {
    const prompt = randomPrompt(length, length)
    const [first, second] = [
      await engine.submit({ prompt, maxTokens: 4, ignoreEos: true }).result(),
      await engine.submit({ prompt, maxTokens: 4, ignoreEos: true }).result(),
    ]
    expect([first.cached_tokens, second.cached_tokens]).toEqual([0, Math.floor((length - 1) / 16) * 16])
    expect(second.ids).toEqual(first.ids)
  })

  test('a saved prefix gives the same answer as a computed one', async () => {
    const prompt = engine.promptIds(`${text}, and then`, { raw: true })
    const expected = await engine.submit({ prompt, maxTokens: 6, ignoreEos: true }).result()
    const reader = await load({ kv })
    const { tokens } = await reader.loadPrefix(await engine.savePrefix(text))
    const done = await reader.submit({ prompt, maxTokens: 6, ignoreEos: true }).result()
    expect([done.cached_tokens, done.ids]).toEqual([tokens, expected.ids])
    await reader.close()
  })

  test('a preempted request goes on with the same tokens', async () => {
    const requests = [0, 1, 2].map((seed) => ({ prompt: randomPrompt(20, seed), maxTokens: 40, ignoreEos: true }))
    const alone: (readonly number[])[] = []
    for (const request of requests) alone.push((await engine.submit(request).result()).ids)
    const small = await load({ kv, kvTokens: 96, context: 64, passTokens: 16, prefixBytes: 0 })
    const together = await Promise.all(requests.map((request) => small.submit(request).result()))
    expect(small.stats.preemptions).toBeGreaterThan(0)
    expect(together.map(({ ids }) => ids)).toEqual(alone)
    await small.close()
  })

  test('what another engine sent, in the format of its pages, gives the same bits', async () => {
    const receiver = await load({ kv })
    const { bytes, cached } = await ship(engine, receiver, kv)
    const expected = await engine.submit({ prompt: long, maxTokens: 8, ignoreEos: true }).result()
    const done = await receiver.submit({ prompt: long, maxTokens: 8, ignoreEos: true }).result()
    expect([done.cached_tokens, done.ids]).toEqual([cached, expected.ids])
    expect(await logitsAfter(receiver, long)).toEqual(whole)
    // Two layers have K and V of one head of 16, and four have inputs of 64 channels.
    const numbers = { f32: [4, 4], f16: [2, 2], int8: [1, 2] }[kv] as [number, number]
    expect(bytes).toBeGreaterThan(cached * (2 * 2 * 16 * numbers[0] + 4 * 64 * numbers[1]))
    await receiver.close()
  })
})

/** Sends the K, V and inputs of `long` into the prefix cache of `receiver`. */
async function ship(sender: Engine, receiver: Engine, codec: WireCodec) {
  const expected = receiver.expectKv(long)
  try {
    const { from, to } = expected
    const { bytes } = await expected.receive(sender.kvOf(long, { codec, key, from, to }), { key })
    return { bytes, cached: to - from }
  } finally {
    expected.release()
  }
}

test('coarser codecs send inputs of convolutions as f16: their error is that of K and V alone', async () => {
  const sender = await load()
  const want = await logitsAfter(sender, long)
  const far = async (codec: WireCodec) => {
    const receiver = await load()
    await ship(sender, receiver, codec)
    const session = await receiver.prefill(long)
    session.release()
    await receiver.close()
    return session.logits.reduce((most, logit, i) => Math.max(most, Math.abs(logit - want[i]!)), 0)
  }
  const [exact, halves, bytes, nibbles] = [await far('f32'), await far('f16'), await far('int8'), await far('int4')]
  expect(exact).toBe(0)
  expect(halves).toBeLessThan(0.01)
  expect(bytes).toBeLessThan(0.1)
  expect(nibbles).toBeLessThan(1)
  await sender.close()
})

test('int8 pages give scores whose cosine with those of f32 pages is above .9999', async () => {
  const [exact, coarse] = [await load(), await load({ kv: 'int8' })]
  for (const length of [8, 17, 40, 70]) {
    const ids = long.slice(0, length)
    const [want, got] = [await logitsAfter(exact, ids), await logitsAfter(coarse, ids)]
    const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, i) => sum + value * b[i]!, 0)
    expect(dot(want, got) / Math.sqrt(dot(want, want) * dot(got, got)), `${length} tokens`).toBeGreaterThan(0.9999)
  }
  await Promise.all([exact.close(), coarse.close()])
})

test('a page holds what each layer needs, and inputs in 16 bits or more', async () => {
  const bytes = async (kv: KvType) => {
    const engine = await load({ kv })
    await engine.close()
    return engine.pageBytes
  }
  const [inputs, keys] = [16 * 4 * 64, 16 * 2 * 2 * 16]
  expect(await bytes('f32')).toBe(4 * (inputs + keys))
  expect(await bytes('f16')).toBe(2 * (inputs + keys))
  expect(await bytes('int8')).toBe(2 * inputs + keys + 16 * 2 * 2 * 4)
})

describe('what needs keys and values in every layer is refused, with the reason', () => {
  const refusal = { code: 'unsupported', message: expect.stringMatching(/4 of the 6 of this lfm2 model.*convolutions/) }

  test('a predictor', async () => {
    const predictor = memorySource('p', await writePredictor(tinyPredictor('0'.repeat(64))))
    await expect(load({ predictor })).rejects.toMatchObject(refusal)
  })

  test('fitting one, pruning by attention, and a cache for another decoder; the engine still works', async () => {
    const engine = await load()
    const want = await logitsAfter(engine, long)
    const plan = { kind: 'shared', shared: 1, runs: [], taps: [0], sinks: 2, window: 4 } as const
    const { header } = tinyPredictor(engine.identity, { layers: 6, hidden: 64, kv_width: 16, plan })
    async function* documents() {
      while (true) yield long
    }
    const options = { tokens: 100, lambda: 1 }
    const fitting = engine.workbench.fitSource(header, { maps: new Map(), gains: [] }, 0, documents(), options)
    await expect(fitting).rejects.toMatchObject(refusal)
    const judged = { prompt: long, continuations: [[1, 2]] }
    await expect(engine.workbench.logitsPruned(judged, { layer: 1, keep: 8 })).rejects.toMatchObject(refusal)
    await expect(engine.workbench.cacheOf(long, 'exact')).rejects.toMatchObject(refusal)
    expect(engine.stats.pages_in_use).toBe(0)
    expect(await logitsAfter(engine, long)).toEqual(want)
    await engine.close()
  })
})
