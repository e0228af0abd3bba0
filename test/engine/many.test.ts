/** Many requests on one engine: what shares a pass, or a prefix, never changes an answer. */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { Engine, type EngineOptions, type GenerateRequest, type Outcome } from '../../src/index.ts'
import fc from '../helpers/properties.ts'
import { random } from '../helpers/random.ts'
import { type TinyOptions, tinyFiles } from '../helpers/tiny-model.ts'

const wasm = await loadWasm('auto', 1)
const load = (options: Partial<EngineOptions> = {}, model: TinyOptions = {}) =>
  Engine.load(tinyFiles(model), { wasm, ...options })

const rng = random(5)
const someIds = (length: number) => Array.from({ length }, () => rng.below(256))

async function collect(outcomes: AsyncIterable<Outcome>): Promise<Outcome[]> {
  const all: Outcome[] = []
  for await (const outcome of outcomes) all[outcome.index] = outcome
  return all
}

async function eventually(condition: () => boolean): Promise<void> {
  for (let turn = 0; turn < 1000 && !condition(); turn++) await new Promise((resolve) => setImmediate(resolve))
  expect(condition()).toBe(true)
}

describe('prefillMany', () => {
  let engine: Engine
  beforeAll(async () => {
    engine = await load({ kvTokens: 8192 })
  })
  afterAll(() => engine.close())

  test('gives every prompt the same bits as alone, in any order, whatever shares its passes', async () => {
    const pool = [1, 1, 2, 15, 16, 17, 40, 100, 250].map(someIds)
    pool.push(pool[5]!, pool[8]!)
    const alone: Float32Array[] = []
    for (const ids of pool) {
      const session = await engine.prefill(ids)
      alone.push(session.logits)
      session.release()
    }
    for (const passTokens of [7, 64, 256]) {
      const other = await load({ passTokens, kvTokens: 8192 })
      for (let round = 0; round < 4; round++) {
        const order = pool.map((_, index) => index).sort(() => rng.unit() - 0.5)
        const sessions = await other.prefillMany(order.map((index) => pool[index]!))
        order.forEach((index, at) => {
          expect(sessions[at]!.logits).toEqual(alone[index])
          expect(sessions[at]!.length).toBe(pool[index]!.length)
          sessions[at]!.release()
        })
      }
      expect(other.stats.pages_in_use).toBe(0)
      await other.close()
    }
  })

  test('accepts all prompts or none', async () => {
    await expect(engine.prefillMany([])).rejects.toMatchObject({ code: 'empty_prompt' })
    await expect(engine.prefillMany([someIds(20), []])).rejects.toMatchObject({
      code: 'empty_prompt',
      message: expect.stringContaining('prompt 1'),
    })
    await expect(engine.prefillMany([someIds(20), someIds(257)])).rejects.toMatchObject({ code: 'context_exceeded' })
    expect(engine.stats.pages_in_use).toBe(0)
  })
})

describe('generateMany', () => {
  test('answers the same as one by one, with weights of any type', async () => {
    for (const type of ['f32', 'q4_0', 'q8_0'] as const) {
      const engine = await load({ passTokens: 48, kvTokens: 1024, prefixBytes: 0 }, { type })
      const requests = [1, 2, 16, 33, 60, 5, 90, 17].map((length, at): GenerateRequest => {
        return { prompt: someIds(length), maxTokens: 4 + at * 3, ignoreEos: at % 2 === 0, id: `r${at}` }
      })
      const alone: (readonly number[])[] = []
      for (const request of requests) alone.push((await engine.submit(request).result()).ids)
      const outcomes = await collect(engine.generateMany(requests))
      expect(outcomes.map(({ result }) => result?.ids)).toEqual(alone)
      expect(outcomes.map(({ id }) => id)).toEqual(requests.map(({ id }) => id))
      expect(engine.stats.pages_in_use).toBe(0)
      await engine.close()
    }
  })

  test('a cached prefix gives the same answer as a computed one', async () => {
    const engine = await load({ kvTokens: 1024 })
    const shared = someIds(70)
    const requests = [1, 2, 3].map((n): GenerateRequest => ({ prompt: [...shared, n, n], maxTokens: 10 }))
    const fresh = await load({ prefixBytes: 0 })
    for (const request of requests) {
      const { ids, cached_tokens } = await engine.submit(request).result()
      expect(ids).toEqual((await fresh.submit(request).result()).ids)
      expect(cached_tokens).toBe(request === requests[0] ? 0 : 64)
    }
    expect((await engine.submit({ ...requests[0]!, tenant: 'other' }).result()).cached_tokens).toBe(0)
    await engine.close()
    await fresh.close()
  })

  test('an invalid request fails alone', async () => {
    const engine = await load()
    const requests: GenerateRequest[] = [
      { prompt: 'good', maxTokens: 3 },
      { prompt: '' },
      { prompt: 'x'.repeat(1000), raw: true },
      { prompt: [9999] },
      { prompt: 'bad', temperature: -1 },
      { prompt: 'bad', maxTokens: 0.5 },
      { prompt: 'cancelled', signal: AbortSignal.abort() },
      { prompt: 'good again', maxTokens: 3 },
    ]
    const outcomes = await collect(engine.generateMany(requests))
    expect(outcomes.map((outcome) => outcome.error?.code ?? outcome.result?.finishReason)).toEqual([
      'length',
      'empty_prompt',
      'context_exceeded',
      'bad_argument',
      'bad_argument',
      'bad_argument',
      'aborted',
      'length',
    ])
    await engine.close()
  })

  test('needs room for at least one request: less would wait forever', async () => {
    const engine = await load()
    for (const concurrency of [0, -1, Number.NaN])
      await expect(collect(engine.generateMany([], { concurrency }))).rejects.toMatchObject({ code: 'bad_argument' })
    const one = await collect(engine.generateMany([{ prompt: [1], maxTokens: 1 }], { concurrency: 1 }))
    expect(one[0]?.result?.ids).toHaveLength(1)
    await engine.close()
  })

  test('pulls no more than its concurrency, and cancels requests in flight when the reader leaves', async () => {
    const engine = await load({ prefixBytes: 0 })
    let pulled = 0
    let closed = false
    async function* endless(): AsyncGenerator<GenerateRequest> {
      try {
        for (;;) {
          pulled++
          yield { prompt: someIds(10), maxTokens: 5, ignoreEos: true }
        }
      } finally {
        closed = true
      }
    }
    let seen = 0
    for await (const outcome of engine.generateMany(endless(), { concurrency: 3 })) {
      expect(outcome.result?.ids).toHaveLength(5)
      expect(pulled - seen).toBeLessThanOrEqual(4)
      if (++seen === 7) break
    }
    expect(closed).toBe(true)
    await eventually(() => engine.stats.pages_in_use === 0)
    await engine.close()
  })

  test('a slow source does not hold back results', async () => {
    const engine = await load()
    let release = () => {}
    const gate = new Promise<void>((resolve) => {
      release = resolve
    })
    async function* slow(): AsyncGenerator<GenerateRequest> {
      yield { prompt: 'first', maxTokens: 2 }
      await gate
      yield { prompt: 'second', maxTokens: 2 }
    }
    const outcomes: number[] = []
    for await (const { index } of engine.generateMany(slow())) {
      outcomes.push(index)
      release()
    }
    expect(outcomes).toEqual([0, 1])
    await engine.close()
  })

  test('an empty source gives nothing, and a failing source fails the call', async () => {
    const engine = await load()
    expect(await collect(engine.generateMany([]))).toEqual([])
    async function* failing(): AsyncGenerator<GenerateRequest> {
      yield { prompt: 'first', maxTokens: 200, ignoreEos: true }
      throw new Error('the disk is gone')
    }
    await expect(collect(engine.generateMany(failing()))).rejects.toThrow('the disk is gone')
    await eventually(() => engine.stats.running + engine.stats.waiting === 0)
    await engine.close()
  })
})

describe('submit', () => {
  test('many readers, each at its own pace, read what they would read alone', async () => {
    const engine = await load({ passTokens: 32, kvTokens: 2048, prefixBytes: 0 })
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ length: fc.integer({ min: 1, max: 80 }), pause: fc.nat(3), leave: fc.nat(30) }), {
          minLength: 1,
          maxLength: 6,
        }),
        async (readers) => {
          const read = async ({ length, pause, leave }: (typeof readers)[number], base: number) => {
            const prompt = Array.from({ length }, (_, i) => (i * 31 + base * 7) % 256)
            const got: number[] = []
            for await (const event of engine.submit({ prompt, maxTokens: 20, ignoreEos: true })) {
              if (event.type === 'token') got.push(event.id)
              if (got.length > leave) break
              for (let turn = 0; turn < pause; turn++) await new Promise((resolve) => setImmediate(resolve))
            }
            return got
          }
          const together = await Promise.all(readers.map(read))
          expect(engine.stats.pages_in_use).toBe(0)
          for (const [base, reader] of readers.entries()) expect(together[base]).toEqual(await read(reader, base))
        },
      ),
      { numRuns: 25 },
    )
    await engine.close()
  })

  test('leaving, cancelling and closing free pages', async () => {
    const engine = await load({ prefixBytes: 0 })
    const left = engine.submit({ prompt: someIds(40), maxTokens: 50, ignoreEos: true })
    for await (const event of left) if (event.type === 'token') break
    expect(engine.stats.pages_in_use).toBe(0)
    const cancelled = engine.submit({ prompt: someIds(40) })
    cancelled.cancel()
    cancelled.cancel()
    await expect(cancelled.result()).rejects.toMatchObject({ code: 'aborted' })
    const open = engine.submit({ prompt: someIds(40) })
    await engine.close()
    await expect(open.result()).rejects.toMatchObject({ code: 'aborted', message: 'the engine was closed' })
  })

  test('with zero tokens requested the prompt is read and cached for the next request', async () => {
    const engine = await load()
    const prompt = someIds(50)
    const warm = await engine.submit({ prompt, maxTokens: 0 }).result()
    expect(warm).toMatchObject({ ids: [], text: '', finishReason: 'length' })
    expect((await engine.submit({ prompt, maxTokens: 1 }).result()).cached_tokens).toBe(48)
    await engine.close()
  })

  test('a request beyond the queue limit is refused at once', async () => {
    const engine = await load({ schedule: { maxRunning: 1, maxWaiting: 1 } })
    const two = [1, 2].map(() => engine.submit({ prompt: 'hello', maxTokens: 2 }))
    expect(() => engine.submit({ prompt: 'hello' })).toThrow(expect.objectContaining({ code: 'busy' }))
    for (const submission of two) await submission.result()
    expect((await engine.submit({ prompt: 'hello', maxTokens: 2 }).result()).finishReason).toBe('length')
    await engine.close()
  })

  test.each<[string, Partial<EngineOptions>]>([
    ['kvTokens below the context', { kvTokens: 100, context: 128 }],
    ['a broken context', { context: 1.5 }],
    ['passTokens of 0', { passTokens: 0 }],
    ['negative prefixBytes', { prefixBytes: -1 }],
    ['an unknown order', { schedule: { order: 'longest' as 'pack' } }],
    ['a stall bound that is no number', { schedule: { stallMs: Number.NaN } }],
    ['no one running', { schedule: { maxRunning: 0 } }],
  ])('%s is refused before weights are read', async (_, options) => {
    await expect(load(options)).rejects.toMatchObject({ code: 'bad_argument' })
  })
})

describe('a saved prefix', () => {
  const opening = [{ role: 'system', content: 'You speak of rivers, mills and harbours only, and briefly.' }] as const
  const conversation = (content: string) => [...opening, { role: 'user', content } as const]

  test('gives the same answers in another engine as a computed one', async () => {
    const [maker, reader] = [await load(), await load({ prefixBytes: 0 })]
    const file = await maker.savePrefix(opening)
    expect(maker.stats.pages_in_use).toBe(0)
    const expected = await maker.submit({ prompt: conversation('where?'), maxTokens: 8 }).result()
    const loaded = await reader.loadPrefix(file)
    expect(loaded.tokens % 16).toBe(0)
    const done = await reader.submit({ prompt: conversation('where?'), maxTokens: 8 }).result()
    expect(done.cached_tokens).toBe(loaded.tokens)
    expect(done.ids).toEqual(expected.ids)
    // It stays, though this engine keeps nothing else, until it is let go.
    expect(reader.stats.pages_in_use).toBe(loaded.tokens / 16)
    loaded.release()
    loaded.release()
    const after = await reader.submit({ prompt: conversation('when?'), maxTokens: 1 }).result()
    expect(after.cached_tokens).toBe(loaded.tokens)
    expect(reader.stats.pages_in_use).toBe(0)
    for (const engine of [maker, reader]) await engine.close()
  })

  test('of other weights of the same shape, or of another K and V type, is refused', async () => {
    const [maker, tuned, small] = [await load(), await load({}, { seed: 2 }), await load({ kv: 'int8' })]
    const file = await maker.savePrefix(opening)
    for (const engine of [tuned, small]) {
      await expect(engine.loadPrefix(file)).rejects.toMatchObject({ code: 'wrong_model' })
      expect(engine.stats.pages_in_use).toBe(0)
    }
    for (const engine of [maker, tuned, small]) await engine.close()
  })

  test('is visible only to its tenant, and less than a page is refused', async () => {
    const engine = await load()
    await expect(engine.savePrefix('short')).rejects.toMatchObject({ code: 'bad_argument' })
    await engine.loadPrefix(await engine.savePrefix(opening), { tenant: 'a' })
    const cached = async (tenant: string) =>
      (await engine.submit({ prompt: conversation('x'), maxTokens: 1, tenant }).result()).cached_tokens
    expect(await cached('b')).toBe(0)
    expect(await cached('a')).toBeGreaterThan(0)
    await engine.close()
  })

  test('that does not fit changes nothing', async () => {
    const engine = await load({ context: 64, kvTokens: 64 })
    const file = await (await load()).savePrefix('x'.repeat(100))
    await expect(engine.loadPrefix(file)).rejects.toMatchObject({ code: 'context_exceeded' })
    const session = await engine.prefill(someIds(40))
    const fits = await (await load()).savePrefix('x'.repeat(60))
    await expect(engine.loadPrefix(fits)).rejects.toMatchObject({ code: 'out_of_pages' })
    session.release()
    expect(engine.stats.pages_in_use).toBe(0)
    await engine.close()
  })
})
