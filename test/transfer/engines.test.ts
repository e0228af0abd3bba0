/**
 * K and V from one engine to another: what the second then answers, and what it costs the first.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { Engine, type EngineOptions, type KvType, type WireCodec } from '../../src/index.ts'
import { answer, randomPrompt } from '../helpers/answers.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'

const wasm = await loadWasm('auto', 1)
const key = new Uint8Array(32).fill(7)
const load = (options: Partial<EngineOptions> = {}, model = {}) =>
  Engine.load(tinyFiles({ context: 512, ...model }), { wasm, passTokens: 64, ...options })

/** Sends a prompt's K and V from `sender` into the prefix cache of `receiver`. */
async function ship(sender: Engine, receiver: Engine, ids: readonly number[], codec: WireCodec, tenant = '') {
  const expected = receiver.expectKv(ids, { tenant })
  try {
    const { from, to } = expected
    return { from, to, ...(await expected.receive(sender.kvOf(ids, { codec, key, from, to }), { key })) }
  } finally {
    expected.release()
  }
}

describe.each<[KvType, WireCodec]>([
  ['f32', 'f32'],
  ['f16', 'f16'],
  ['int8', 'int8'],
])('pages in %s by %s', (kv, codec) => {
  let sender: Engine
  let receiver: Engine
  beforeAll(async () => {
    ;[sender, receiver] = [await load({ kv }), await load({ kv })]
  })
  afterAll(() => Promise.all([sender.close(), receiver.close()]))

  test.each([33, 48, 65, 200])('remote K and V of %i tokens equal the local ones, bit for bit', async (length) => {
    const prompt = randomPrompt(length, length)
    const local = await answer(sender, { prompt, maxTokens: 16 })
    const { tokens, bytes } = await ship(sender, receiver, prompt, codec)
    const whole = Math.floor((length - 1) / 16) * 16
    expect(tokens).toBe(whole)
    expect(bytes).toBeGreaterThan(whole * 2 * 2 * 128 * { f32: 4, f16: 2, int8: 1 }[codec as KvType])
    const remote = await answer(receiver, { prompt, maxTokens: 16 })
    expect(remote.done.cached_tokens).toBe(whole)
    expect(remote.tokens).toEqual(local.tokens)
  })

  test('blocks that the receiver holds are not sent again', async () => {
    const prompt = randomPrompt(300, 5)
    await ship(sender, receiver, prompt.slice(0, 161), codec)
    const { from, to, tokens } = await ship(sender, receiver, prompt, codec)
    expect([from, to, tokens]).toEqual([160, 288, 128])
    const local = await answer(sender, { prompt, maxTokens: 8 })
    expect((await answer(receiver, { prompt, maxTokens: 8 })).tokens).toEqual(local.tokens)
  })
})

describe('a sender', () => {
  let engine: Engine
  beforeAll(async () => {
    engine = await load()
  })
  afterAll(() => engine.close())

  test('sends blocks while later tokens are still to be computed', async () => {
    const before = engine.stats.passes
    const passes: number[] = []
    for await (const _ of engine.kvOf(randomPrompt(256, 1), { codec: 'f16', key }))
      passes.push(engine.stats.passes - before)
    expect(passes[1]).toBeLessThan(passes.at(-1)!)
    expect(engine.stats.running).toBe(0)
  })

  test('shares passes with requests, whose answers stay the same', async () => {
    const prompt = randomPrompt(40, 2)
    const alone = await answer(engine, { prompt, maxTokens: 24 })
    const before = engine.stats
    const reading = (async () => {
      let bytes = 0
      for await (const piece of engine.kvOf(randomPrompt(200, 3), { codec: 'int8', key })) bytes += piece.length
      return bytes
    })()
    const beside = await answer(engine, { prompt, maxTokens: 24 })
    expect(beside.tokens).toEqual(alone.tokens)
    expect(await reading).toBeGreaterThan(199 * 2 * 2 * 128)
    const { passes, prefill_tokens, decode_tokens } = engine.stats
    const work = prefill_tokens + decode_tokens - before.prefill_tokens - before.decode_tokens
    expect(passes - before.passes).toBeLessThan(work / 2)
  })

  test('releases its pages when it is abandoned early, cancelled, or refused', async () => {
    const prompt = randomPrompt(256, 4)
    const pages = () => engine.stats.pages_in_use - engine.stats.prefix_pages
    const free = pages()
    for await (const _ of engine.kvOf(prompt, { codec: 'f16', key })) break
    expect(pages()).toBe(free)
    const controller = new AbortController()
    const cancelled = (async () => {
      for await (const _ of engine.kvOf(randomPrompt(256, 6), { codec: 'f16', key, signal: controller.signal }))
        controller.abort()
    })()
    await expect(cancelled).rejects.toMatchObject({ code: 'aborted' })
    expect(pages()).toBe(free)
    for (const wrong of [{ from: 8 }, { from: 256 }, { from: -16 }, { to: 300 }, { to: 0 }, { key: new Uint8Array(8) }])
      await expect(engine.kvOf(prompt, { codec: 'f16', key, ...wrong }).next()).rejects.toMatchObject({
        code: 'bad_argument',
      })
    expect(pages()).toBe(free)
  })

  test('reports its times', async () => {
    const told: unknown[] = []
    const options = { codec: 'int4', key, onTimings: (timings: unknown) => told.push(timings) } as const
    let bytes = 0
    for await (const piece of engine.kvOf(randomPrompt(100, 8), options)) bytes += piece.length
    expect(told).toEqual([expect.objectContaining({ tokens: 99, cached_tokens: 0, bytes })])
  })
})

describe('a receiver', () => {
  test.each<WireCodec>(['f16', 'int8', 'int4'])('reads %s into pages of any kind', async (codec) => {
    const sender = await load()
    const prompt = randomPrompt(180, 9)
    const logits = async (engine: Engine) => {
      const scores = (await answer(engine, { prompt, maxTokens: 1, topLogprobs: 5 })).tokens
      return scores[0]!.logprob
    }
    const exact = await logits(sender)
    for (const kv of ['f32', 'f16', 'int8'] as const) {
      const receiver = await load({ kv })
      await ship(sender, receiver, prompt, codec)
      expect(Math.abs((await logits(receiver)) - exact)).toBeLessThan(codec === 'int4' ? 0.5 : 0.05)
      await receiver.close()
    }
    await sender.close()
  })

  test('of another model refuses, and keeps nothing', async () => {
    const sender = await load()
    const receiver = await load({}, { seed: 2 })
    const prompt = randomPrompt(100, 10)
    await expect(ship(sender, receiver, prompt, 'f16')).rejects.toMatchObject({ code: 'wrong_model' })
    expect(receiver.stats.pages_in_use).toBe(0)
    await Promise.all([sender.close(), receiver.close()])
  })

  test('accepts nothing from a stream with another key, for another request, or of another tenant', async () => {
    const [sender, receiver] = [await load(), await load()]
    const prompt = randomPrompt(100, 11)
    const expected = receiver.expectKv(prompt, { tenant: 'a' })
    const stream = (change = {}) =>
      sender.kvOf(prompt, { codec: 'f16', key, to: expected.to, context: 'one', ...change })
    const read = (body: AsyncIterable<Uint8Array>) => expected.receive(body, { key, context: 'one' })
    await expect(read(stream({ key: new Uint8Array(32).fill(8) }))).rejects.toMatchObject({ code: 'bad_mac' })
    await expect(read(stream({ context: 'two' }))).rejects.toMatchObject({ code: 'bad_mac' })
    expect(receiver.stats.pages_in_use).toBe(0)
    expect((await read(stream())).tokens).toBe(96)
    expected.release()
    expect((await answer(receiver, { prompt, tenant: 'b', maxTokens: 1 })).done.cached_tokens).toBe(0)
    expect((await answer(receiver, { prompt, tenant: 'a', maxTokens: 1 })).done.cached_tokens).toBe(96)
    await Promise.all([sender.close(), receiver.close()])
  })
})
