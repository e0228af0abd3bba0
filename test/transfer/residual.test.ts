/**
 * K and V sent as the error of a prediction. The tiny model's predictor is random, so its error is
 * almost everything.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { Engine, type EngineOptions, type KvOptions, memorySource } from '../../src/index.ts'
import { writePredictor } from '../../src/predict/file.ts'
import { evenSteps, writeSteps } from '../../src/transfer/steps.ts'
import { answer, randomPrompt } from '../helpers/answers.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { tinyPlan, tinyPredictor } from '../helpers/tiny-predictor.ts'

const wasm = await loadWasm('auto', 1)
const files = tinyFiles({ layers: 7, context: 512 })
const key = new Uint8Array(32).fill(3)
const bare = await Engine.load(files, { wasm })
afterAll(() => bare.close())

async function load(options: Partial<EngineOptions> = {}, change = {}): Promise<Engine> {
  const predictor = memorySource('p', await writePredictor(tinyPredictor(bare.identity, change)))
  return Engine.load(files, { wasm, predictor, ...options })
}

async function ship(sender: Engine, receiver: Engine, ids: readonly number[], options: Partial<KvOptions> = {}) {
  const expected = receiver.expectKv(ids)
  const { from, to } = expected
  try {
    return await expected.receive(sender.kvOf(ids, { codec: 'residual', key, from, to, ...options }), { key })
  } finally {
    expected.release()
  }
}

/** Returns the log-probability of the exact first token. */
async function first(engine: Engine, prompt: readonly number[]) {
  const { tokens, done } = await answer(engine, { prompt, maxTokens: 12 })
  return { ids: tokens.map(({ id }) => id), logprob: tokens[0]!.logprob, cached: done.cached_tokens }
}

describe('residuals', () => {
  let sender: Engine
  beforeAll(async () => {
    sender = await load({ passTokens: 40 })
  })
  afterAll(() => sender.close())

  test.each(['f32', 'f16', 'int8'] as const)('in small steps give exact K and V, into pages in %s', async (kv) => {
    const receiver = await load({ kv, passTokens: 96 })
    const prompt = randomPrompt(210, 1)
    const { codec, tokens } = await ship(sender, receiver, prompt, { coarseness: 1e-3 })
    expect([codec, tokens]).toEqual(['residual', 208])
    const [exact, remote] = [await first(bare, prompt), await first(receiver, prompt)]
    expect(remote.cached).toBe(208)
    expect(Math.abs(remote.logprob - exact.logprob)).toBeLessThan(kv === 'int8' ? 0.03 : 0.01)
    if (kv === 'f32') expect(remote.ids).toEqual(exact.ids)
    await receiver.close()
  })

  test('with coarser steps take fewer bytes and are farther from exact', async () => {
    const prompt = randomPrompt(150, 2)
    const exact = (await first(bare, prompt)).logprob
    const rows: { bytes: number; off: number }[] = []
    for (const coarseness of [0.01, 1, 1e5]) {
      const receiver = await load()
      const { bytes } = await ship(sender, receiver, prompt, { coarseness })
      rows.push({ bytes, off: Math.abs((await first(receiver, prompt)).logprob - exact) })
      await receiver.close()
    }
    const [fine, middle, none] = rows as [(typeof rows)[0], (typeof rows)[0], (typeof rows)[0]]
    expect(fine.bytes).toBeGreaterThan(2 * middle.bytes)
    expect(middle.bytes).toBeGreaterThan(2 * none.bytes)
    expect(fine.off).toBeLessThan(none.off)
  })

  test('an empty residual leaves the prediction, which the prefix cache never stores as exact', async () => {
    const receiver = await load()
    const prompt = randomPrompt(150, 3)
    const body = sender.kvOf(prompt, { codec: 'residual', key, to: 144, coarseness: 1e5 })
    const expected = receiver.expectKv(prompt)
    await expect(expected.receive(body, { key: new Uint8Array(32) })).rejects.toMatchObject({ code: 'bad_mac' })
    expected.release()
    expect(receiver.stats.pages_in_use).toBe(0)
    await receiver.close()
  })

  test('after the tokens that the receiver holds correct its prediction from there', async () => {
    const receiver = await load()
    const prompt = randomPrompt(200, 4)
    await ship(sender, receiver, prompt.slice(0, 81), { codec: 'f32' })
    const { codec, tokens } = await ship(sender, receiver, prompt, { coarseness: 1e-3 })
    expect([codec, tokens]).toEqual(['residual', 112])
    const [exact, remote] = [await first(bare, prompt), await first(receiver, prompt)]
    expect(Math.abs(remote.logprob - exact.logprob)).toBeLessThan(0.01)
    await receiver.close()
  })

  test('a prompt too short to be predicted is sent in int8', async () => {
    const receiver = await load()
    expect((await ship(sender, receiver, randomPrompt(27, 5))).codec).toBe('int8')
    await receiver.close()
  })

  test('the sender releases its pages however it ends', async () => {
    const pages = () => sender.stats.pages_in_use - sender.stats.prefix_pages
    const free = pages()
    for await (const piece of sender.kvOf(randomPrompt(220, 6), { codec: 'residual', key }))
      if (piece.length < 256) break
    expect(pages()).toBe(free)
    let pieces = 0
    for await (const _ of sender.kvOf(randomPrompt(220, 7), { codec: 'residual', key })) if (pieces++ === 2) break
    expect(pages()).toBe(free)
  })

  test('both ends need the same predictor', async () => {
    const prompt = randomPrompt(120, 8)
    const ask = (engine: Engine, to: Engine) => ship(engine, to, prompt)
    await expect(ask(bare, sender)).rejects.toMatchObject({ code: 'unsupported' })
    const without = await Engine.load(files, { wasm })
    const other = await load({}, { training: { seed: 2 } })
    await expect(ask(sender, without)).rejects.toMatchObject({ code: 'wrong_model' })
    await expect(ask(sender, other)).rejects.toMatchObject({ code: 'wrong_model' })
    expect(without.stats.pages_in_use + other.stats.pages_in_use).toBe(0)
    await Promise.all([without.close(), other.close()])
  })
})

describe('a step file', () => {
  const { config } = bare.archive
  const even = evenSteps(config, tinyPlan)
  const text = (change = {}) => {
    const file = JSON.parse(writeSteps({ base: bare.identity, base_name: 'tiny' }, config, tinyPlan, even))
    return memorySource('steps', new TextEncoder().encode(JSON.stringify({ ...file, ...change })))
  }
  const code = async (change: object) => {
    const engine = await load({ residualSteps: text(change) }).catch((error) => error)
    await engine.close?.()
    return engine.code
  }

  test('controls the sender', async () => {
    const fine = { ...even, steps: even.steps.map((step, at) => (at % 2 ? step / 64 : 0)) }
    const source = writeSteps({ base: bare.identity, base_name: 'tiny' }, config, tinyPlan, fine)
    const [a, b] = [await load(), await load({ residualSteps: memorySource('s', new TextEncoder().encode(source)) })]
    const size = async (engine: Engine) => {
      let bytes = 0
      for await (const piece of engine.kvOf(randomPrompt(100, 9), { codec: 'residual', key })) bytes += piece.length
      return bytes
    }
    expect(await size(b)).toBeGreaterThan(1.3 * (await size(a)))
    await Promise.all([a.close(), b.close()])
  })

  test.each<[object, string]>([
    [{}, 'undefined'],
    [{ base: 'ab'.repeat(32) }, 'wrong_model'],
    [{ version: 2 }, 'bad_predictor'],
    [{ layers: 8 }, 'bad_predictor'],
    [{ pairs: 'half', head_dim: 32 }, 'bad_predictor'],
    [{ steps: 'AAAA' }, 'bad_predictor'],
    [{ steps: '%%' }, 'bad_predictor'],
  ])('with %j: %s', async (change, expected) => {
    expect(String(await code(change))).toBe(expected)
  })
})
