/**
 * LongRoPE: sequences beyond a model's first context turn by other divisors, all of their tokens. An
 * answer that grows beyond it is read again, as transformers does, and nothing mixes the two.
 */
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { folderFiles } from '../../node/model-files.ts'
import { loadWasm } from '../../node/wasm.ts'
import { Engine, type EngineOptions, type GenerateRequest, memorySource } from '../../src/index.ts'
import { writePredictor } from '../../src/predict/file.ts'
import { compareTop, type GoldenCase, readGolden } from '../golden/golden.ts'
import { randomPrompt } from '../helpers/answers.ts'
import type { WrittenTensor } from '../helpers/gguf-writer.ts'
import { random } from '../helpers/random.ts'
import { seed } from '../helpers/seed.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { tinyPlan, tinyPredictor } from '../helpers/tiny-predictor.ts'

const wasm = await loadWasm('auto', 1)
const key = new Uint8Array(32).fill(7)
/** Tokens of the first context of the tiny model. */
const beyond = 48

const factors = (name: string, of: (pair: number) => number): WrittenTensor => {
  const values = Float32Array.from({ length: 32 }, (_, pair) => of(pair))
  return { name: `rope_factors_${name}.weight`, type: 'f32', dims: [32], bytes: new Uint8Array(values.buffer) }
}

const files = tinyFiles({
  layers: 7,
  metadata: { 'llama.rope.scaling.original_context_length': { u32: beyond } },
  tensors: (all) => [...all, factors('short', () => 1), factors('long', (pair) => 1 + pair)],
})

const engines: Engine[] = []
afterAll(() => Promise.all(engines.map((engine) => engine.close())))

async function load(options: Partial<EngineOptions> = {}): Promise<Engine> {
  const engine = await Engine.load(files, { wasm, kv: 'f32', ...options })
  engines.push(engine)
  return engine
}

const alone = await load({ prefixBytes: 0 })

/** Returns the answer of an engine that runs nothing else and keeps nothing. */
async function aloneIds(request: GenerateRequest): Promise<readonly number[]> {
  return (await alone.submit(request).result()).ids
}

async function logitsAfter(engine: Engine, ids: readonly number[]): Promise<Float32Array> {
  const session = await engine.prefill(ids)
  session.release()
  return session.logits
}

/** Returns the greedy answer whose every token is read from the logits of a prompt of its own. */
async function anew(prompt: readonly number[], tokens: number): Promise<number[]> {
  const ids = [...prompt]
  while (ids.length < prompt.length + tokens) {
    const logits = await logitsAfter(alone, ids)
    ids.push(logits.reduce((best, logit, id) => (logit > logits[best]! ? id : best), 0))
  }
  return ids.slice(prompt.length)
}

const answering = (prompt: readonly number[], more: Partial<GenerateRequest> = {}): GenerateRequest => ({
  prompt,
  maxTokens: 24,
  ignoreEos: true,
  temperature: 0,
  ...more,
})

describe('transformers', () => {
  const { cases } = readGolden<{ cases: readonly GoldenCase[] }>('tiny-phi3/growing.json', 'growing')

  test.each(['tiny-phi3', 'tiny-phi3/gguf'])('%s gives the same answer across the first context', async (name) => {
    const folder = await folderFiles(fileURLToPath(new URL(`../vectors/${name}`, import.meta.url)))
    const engine = await Engine.load(folder, { wasm, kv: 'f32' })
    engines.push(engine)
    await folder.close()
    expect(engine.archive.warnings).toEqual([])
    for (const { ids, greedy, margins, top } of cases) {
      expect(ids.length).toBeLessThan(256)
      expect(ids.length + greedy.length).toBeGreaterThan(257)
      expect(Math.min(...margins)).toBeGreaterThan(0.02)
      const answer = await engine.submit(answering(ids, { maxTokens: greedy.length })).result()
      expect(answer.ids).toEqual(greedy)
      expect(engine.stats.preemptions).toBe(1)
      const all = [...ids, ...greedy]
      const logits = await logitsAfter(engine, all.slice(0, -1))
      compareTop(logits, top, { logprob: 2e-3, floor: -20, margin: 0.02 })
    }
  })
})

test('an answer that grows is that of its tokens read anew at each step', async () => {
  for (const length of [beyond - 7, beyond - 1, beyond, beyond + 1]) {
    const prompt = randomPrompt(length, length)
    expect(await aloneIds(answering(prompt, { maxTokens: 12 })), `${length} tokens`).toEqual(await anew(prompt, 12))
  }
})

test('the factors matter: the same tokens give other logits behind more of them', async () => {
  const other = await Engine.load(
    tinyFiles({ layers: 7, tensors: (all) => [...all, factors('short', () => 1), factors('long', () => 1)] }),
    { wasm, kv: 'f32' },
  )
  engines.push(other)
  for (const [length, equal] of [
    [beyond, true],
    [beyond + 1, false],
  ] as const) {
    const ids = randomPrompt(length, 3)
    const [mine, plain] = [await logitsAfter(alone, ids), await logitsAfter(other, ids)]
    if (equal) expect(mine).toEqual(plain)
    else expect(mine).not.toEqual(plain)
  }
})

test.each([1, 7, 16, 256])('passes of %i tokens and company change no bit', async (passTokens) => {
  const engine = await load({ passTokens, kvTokens: 600 })
  const rng = random(seed)
  const requests = Array.from({ length: 10 }, (_, i) =>
    answering(randomPrompt(beyond - 24 + rng.below(48), 100 + i), { maxTokens: 1 + rng.below(40) }),
  )
  const answers = await Promise.all(requests.map((request) => engine.submit(request).result()))
  for (const [index, { ids }] of answers.entries()) expect(ids).toEqual(await aloneIds(requests[index]!))
  expect(engine.stats.pages_in_use).toBe(engine.stats.prefix_pages)
})

test('few pages: requests that lose theirs while they grow go on with the same tokens', async () => {
  const engine = await load({ kvTokens: 96, context: 96, passTokens: 16, prefixBytes: 0 })
  const requests = [0, 1, 2].map((i) => answering(randomPrompt(17 + i, i), { maxTokens: 60 }))
  const answers = await Promise.all(requests.map((request) => engine.submit(request).result()))
  expect(engine.stats.preemptions).toBeGreaterThan(requests.length)
  for (const [index, { ids }] of answers.entries()) expect(ids).toEqual(await aloneIds(requests[index]!))
})

test('cached prefixes are of one kind', async () => {
  const engine = await load()
  const [short, long] = [randomPrompt(beyond - 8, 5), randomPrompt(beyond + 20, 5)]
  expect(long.slice(0, short.length)).toEqual(short)
  const cached = async (prompt: readonly number[]) => {
    const { cached_tokens, ids } = await engine.submit(answering(prompt, { maxTokens: 2 })).result()
    expect(ids).toEqual(await aloneIds(answering(prompt, { maxTokens: 2 })))
    return cached_tokens
  }
  expect(await cached(short)).toBe(0)
  expect(await cached(long)).toBe(0)
  expect(await cached(short)).toBe(32)
  expect(await cached(long)).toBe(64)
  // The conversation grows: what it reads again is kept for its next turn.
  const grown = await engine.submit(answering(short, { maxTokens: 20 })).result()
  expect(await cached([...short, ...grown.ids, 1, 2, 3])).toBe(48)
})

test('a saved prefix serves prompts of its kind', async () => {
  const text = 'a'.repeat(beyond + 16)
  for (const [tokens, prompt, cached] of [
    [32, 40, 32],
    [32, 60, 0],
    [beyond, beyond + 8, 0],
    [beyond + 16, beyond + 20, beyond + 16],
  ] as const) {
    const engine = await load()
    await engine.loadPrefix(await alone.savePrefix(text.slice(0, tokens)))
    const ids = engine.promptIds('a'.repeat(prompt), { raw: true })
    const done = await engine.submit(answering(ids)).result()
    expect([done.cached_tokens, done.ids]).toEqual([cached, await aloneIds(answering(ids))])
  }
})

test.each([beyond - 1, beyond, beyond + 1, beyond + 30])(
  'K and V of %i tokens are sent as received',
  async (length) => {
    const prompt = randomPrompt(length, 11)
    const receiver = await load()
    const expected = receiver.expectKv(prompt)
    const { from, to } = expected
    await expected.receive(alone.kvOf(prompt, { codec: 'f32', key, from, to }), { key })
    expected.release()
    const done = await receiver.submit(answering(prompt)).result()
    expect([done.cached_tokens, done.ids]).toEqual([to, await aloneIds(answering(prompt))])
  },
)

test('a session of short factors ends where they do, and says how to go on', async () => {
  const ids = randomPrompt(beyond, 2)
  const session = await alone.prefill(ids)
  await expect(session.step(1)).rejects.toMatchObject({
    code: 'context_exceeded',
    message: expect.stringMatching(/49 tokens take other factors of RoPE than up to 48.*prefill all of them anew/),
  })
  session.release()
  const longer = await alone.prefill([...ids, 1])
  await longer.step(2)
  longer.release()
  expect(alone.stats.pages_in_use).toBe(0)
})

describe('predicted prompts', () => {
  const plan = { ...tinyPlan, runs: [], taps: [1] }
  const predicting = async () => {
    const predictor = memorySource('p', await writePredictor(tinyPredictor(alone.identity, { plan })))
    return load({ predictor, prefixBytes: 0, schedule: { refineMs: 0 } })
  }

  test.each([
    ['grow', beyond - 6],
    ['are long', beyond + 10],
  ])('that %s: answers of refined are those of exact', async (_, length) => {
    const engine = await predicting()
    const requests = [0, 1, 2].map((i) => answering(randomPrompt(length, i), { maxTokens: 20 }))
    const answers = await Promise.all(
      requests.map((request) => engine.submit({ ...request, prefill: 'refined', verify: true }).result()),
    )
    for (const [index, { ids }] of answers.entries()) expect(ids).toEqual(await aloneIds(requests[index]!))
    expect(engine.stats.pages_in_use).toBe(0)
  })

  test('answers of predicted go on exactly once they have grown', async () => {
    const engine = await predicting()
    const prompt = randomPrompt(beyond - 6, 1)
    const { ids } = await engine.submit(answering(prompt, { maxTokens: 20, prefill: 'predicted' })).result()
    // The tokens up to the first context are those of the prediction.
    const kept = beyond + 1 - prompt.length
    expect(ids.slice(kept)).toEqual(await anew([...prompt, ...ids.slice(0, kept)], 20 - kept))
  })
})
