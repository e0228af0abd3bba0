/** Answers from predicted K and V: checked, corrected, and then those of exact prefill. */
import { afterAll, describe, expect, test } from 'vitest'
import { loadGuides } from '../../node/guides.ts'
import { loadWasm } from '../../node/wasm.ts'
import {
  type CorrectionEvent,
  type DoneEvent,
  Engine,
  type EngineOptions,
  type GenerateRequest,
  memorySource,
  type TokenEvent,
} from '../../src/index.ts'
import { writePredictor } from '../../src/predict/file.ts'
import { randomPrompt } from '../helpers/answers.ts'
import fc from '../helpers/properties.ts'
import { type Random, random } from '../helpers/random.ts'
import { seed } from '../helpers/seed.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { tinyPlan, tinyPredictor } from '../helpers/tiny-predictor.ts'

const wasm = await loadWasm('auto', 1)
const files = tinyFiles({ layers: 7 })
const exact = await Engine.load(files, { wasm, prefixBytes: 0, guides: loadGuides })

/**
 * Predicts the last layers of most tokens, all layers but the first 2, or hardly anything: tokens
 * depart sooner or later, at once, or never.
 */
const plans = {
  mixed: { plan: { ...tinyPlan, shared: 5, runs: [], taps: [1] }, scale: -2 },
  coarse: { plan: { ...tinyPlan, runs: [], taps: [1] }, scale: 0 },
  fine: { plan: { ...tinyPlan, shared: 6, runs: [], taps: [1] }, scale: 0 },
}

async function load(name: keyof typeof plans, options: Partial<EngineOptions> = {}) {
  const { plan, scale } = plans[name]
  const file = tinyPredictor(exact.identity, { plan })
  for (const { scale: all } of file.maps.values()) for (let i = 0; i < all.length; i++) all[i]! += scale << 10
  const predictor = memorySource('predictor', await writePredictor(file))
  // Without the clock, the same rows are refined in every run.
  const schedule = { refineMs: 0, ...options.schedule }
  return Engine.load(files, { wasm, prefixBytes: 0, predictor, guides: loadGuides, ...options, schedule })
}

const engines = { mixed: await load('mixed'), coarse: await load('coarse'), fine: await load('fine') }

afterAll(() => Promise.all([exact, ...Object.values(engines)].map((engine) => engine.close())))

/** Reads an answer as a client does that follows its correction. */
async function read(engine: Engine, request: GenerateRequest) {
  let shown: TokenEvent[] = []
  const all: TokenEvent[] = []
  const corrections: CorrectionEvent[] = []
  let done: DoneEvent | undefined
  for await (const event of engine.submit(request)) {
    if (event.type === 'token') {
      shown.push(event)
      all.push(event)
    }
    if (event.type === 'correction') {
      corrections.push(event)
      shown = shown.slice(0, event.index)
      expect(shown.reduce((sum, { text }) => sum + text.length, 0)).toBe(event.offset)
    }
    if (event.type === 'done') done = event
  }
  return { all, shown, corrections, done: done! }
}

type Read = Awaited<ReturnType<typeof read>>

/** Checks that an answer is that of exact prefill, and that its events say so. */
async function expectExact(got: Read, request: GenerateRequest) {
  const want = await read(exact, { ...request, prefill: 'exact' })
  const { done, shown, corrections } = got
  expect([done.ids, done.text, done.finishReason, done.stop]).toEqual([
    want.done.ids,
    want.done.text,
    want.done.finishReason,
    want.done.stop,
  ])
  expect(shown.map(({ id }) => id)).toEqual(done.ids)
  expect(shown.map(({ text }) => text).join('')).toBe(done.text)
  expect(corrections.length).toBe(done.verified === true ? 0 : 1)
  if (corrections[0]) expect(corrections[0].index).toBe(done.verified)
  // What came after the correction was scored by exact K and V, and so are its log-probabilities.
  if (corrections[0]) expect(shown.slice(corrections[0].index)).toEqual(want.shown.slice(corrections[0].index))
  return want
}

/** A random request. */
function requestOf(rng: Random, seed: number): GenerateRequest & { prompt: number[] } {
  return {
    prompt: randomPrompt(28 + rng.below(90), seed),
    maxTokens: 1 + rng.below(24),
    ignoreEos: rng.below(2) === 0,
    topLogprobs: rng.below(3),
  }
}

const modes = ['refined', 'refined', 'auto'] as const

describe('greedy answers', () => {
  test.each([
    ['mixed', 16],
    ['coarse', 4],
    ['fine', 4],
  ] as const)('are those of exact prefill once they are corrected: %s', async (plan, cases) => {
    const rng = random(seed)
    const departed: number[] = []
    for (let i = 0; i < cases; i++) {
      const request = requestOf(rng, 100 * seed + i)
      const got = await read(engines[plan], { ...request, prefill: modes[i % 3]!, verify: true })
      await expectExact(got, request)
      if (typeof got.done.verified === 'number') departed.push(got.done.verified)
    }
    if (plan === 'fine') expect(departed).toEqual([])
    else expect(departed.length).toBeGreaterThan(2)
    if (plan === 'mixed') expect(departed.length).toBeLessThan(cases)
    if (plan === 'mixed') expect(Math.max(...departed)).toBeGreaterThan(0)
    for (const engine of Object.values(engines)) expect(engine.stats.pages_in_use).toBe(0)
  })

  test('that are not to be corrected go on, and tell which token is the first that differs', async () => {
    const rng = random(seed + 1)
    let differed = 0
    for (let i = 0; i < 8; i++) {
      const request = { ...requestOf(rng, 200 * seed + i), ignoreEos: true }
      const got = await read(engines.mixed, { ...request, prefill: 'refined' })
      const want = await read(exact, request)
      expect(got.corrections).toEqual([])
      expect(got.shown.map(({ id }) => id)).toEqual(got.done.ids)
      const first = got.done.ids.findIndex((id, index) => id !== want.done.ids[index])
      expect(got.done.verified).toBe(first < 0 ? true : first)
      if (first >= 0) differed++
    }
    expect(differed).toBeGreaterThan(1)
  })

  test('at the limits: no token, one token, an answer that fills the context', async () => {
    for (const maxTokens of [0, 1, 512 - 60]) {
      const request = { prompt: randomPrompt(60, 7), maxTokens, ignoreEos: true }
      await expectExact(await read(engines.coarse, { ...request, prefill: 'refined', verify: true }), request)
    }
  })

  test('exact and predicted answers are not checked, and those of short prompts have nothing to check', async () => {
    const prompt = randomPrompt(60, 8)
    for (const prefill of ['exact', 'predicted'] as const)
      expect((await read(engines.mixed, { prompt, maxTokens: 3, prefill })).done).not.toHaveProperty('verified')
    const { done } = await read(engines.mixed, { prompt: prompt.slice(0, 20), maxTokens: 3, prefill: 'refined' })
    expect([done.prefill, done.verified]).toEqual(['exact', true])
    await expect(read(engines.mixed, { prompt, prefill: 'predicted', verify: true })).rejects.toMatchObject({
      code: 'bad_argument',
      message: expect.stringContaining('verify'),
    })
  })
})

describe('with everything that shapes an answer', () => {
  const shapes: Readonly<Record<string, Partial<GenerateRequest>>> = {
    penalties: { repetitionPenalty: 1.3, presencePenalty: 0.5, frequencyPenalty: 0.2, logitBias: { 193: -3 } },
    'log-probabilities': { topLogprobs: 5 },
    'a least length': { minTokens: 6 },
    'a JSON schema': {
      guide: {
        kind: 'json_schema',
        schema: { type: 'object', properties: { ab: { type: 'integer' } }, required: ['ab'] },
      },
    },
    'a choice, whose end is forced': {
      guide: { kind: 'choice', choices: ['yes, of course', 'no, not at all', 'nope'] },
    },
    'a regex': { guide: { kind: 'regex', regex: '[a-f]{3}-[0-9]{4}' } },
    'raw log-probabilities': {
      guide: { kind: 'regex', regex: '[a-f]{3}-[0-9]{4}' },
      rawLogprobs: true,
      topLogprobs: 2,
    },
  }
  test.each(Object.keys(shapes))('%s', async (name) => {
    let departed = 0
    for (let i = 0; i < 4; i++) {
      const request = { prompt: randomPrompt(50 + 9 * i, 300 * seed + i), maxTokens: 20, ...shapes[name] }
      const got = await read(engines.coarse, { ...request, prefill: 'refined', verify: true })
      const want = await expectExact(got, request)
      expect(got.done.timings.forced_tokens).toBe(want.done.timings.forced_tokens)
      if (got.done.verified !== true) departed++
    }
    expect(departed).toBeGreaterThan(0)
  })

  test('stop strings, which may end the departed answer or the corrected one', async () => {
    for (let i = 0; i < 4; i++) {
      const prompt = randomPrompt(50 + 9 * i, 400 * seed + i)
      const [wrong, right] = [
        await read(engines.coarse, { prompt, maxTokens: 20, prefill: 'predicted' }),
        await read(exact, { prompt, maxTokens: 20 }),
      ]
      for (const { done } of [wrong, right]) {
        const stop = [done.text.slice(2, 4), done.text.slice(-3, -1)].filter((one) => one !== '')
        const request = { prompt, maxTokens: 20, stop }
        await expectExact(await read(engines.coarse, { ...request, prefill: 'refined', verify: true }), request)
      }
    }
  })

  test('tokens that were shown before stay, whatever exact prefill would have given', async () => {
    const request = { prompt: randomPrompt(70, 9), after: [1, 2, 3], maxTokens: 12, ignoreEos: true }
    const got = await read(engines.coarse, { ...request, prefill: 'refined', verify: true })
    const want = await read(exact, request)
    expect(got.done.ids).toEqual(want.done.ids)
    expect(got.corrections[0]!.index).toBeGreaterThanOrEqual(3)
  })

  test('sampled answers are the same for the same seed, and valid under the rule', async () => {
    for (let i = 0; i < 3; i++) {
      const request = { prompt: randomPrompt(70, 20 + i), maxTokens: 16, temperature: 1.2, topP: 0.95, seed: 5 + i }
      const one = await read(engines.mixed, { ...request, prefill: 'refined', verify: true })
      const two = await read(engines.mixed, { ...request, prefill: 'refined', verify: true })
      expect(two.done.ids).toEqual(one.done.ids)
      expect(two.corrections).toEqual(one.corrections)
      expect(one.shown.map(({ id }) => id)).toEqual(one.done.ids)
    }
  })
})

describe('the cache', () => {
  test('that an answer leaves is that of the corrected answer, exact to the bit', async () => {
    const engine = await load('coarse', { prefixBytes: 1 << 24, kvTokens: 1024 })
    const prompt = randomPrompt(90, 31)
    const { done } = await read(engine, { prompt, maxTokens: 40, ignoreEos: true, prefill: 'refined', verify: true })
    expect(done.verified).toBe(0)
    const next = { prompt: [...prompt, ...done.ids, 5, 6, 7], maxTokens: 10, ignoreEos: true, topLogprobs: 4 }
    const got = await read(engine, next)
    expect(got.done.cached_tokens).toBe(128)
    expect(got.shown).toEqual((await read(exact, next)).shown)
    await engine.close()
  })
})

describe('in company', () => {
  test.each([16, 256])('of other streams, prompts and preemptions, in passes of %i', async (passTokens) => {
    const engine = await load('mixed', { passTokens, kvTokens: 288, context: 256 })
    const rng = random(seed + 2)
    const requests = Array.from({ length: 8 }, (_, i) => ({ ...requestOf(rng, 500 * seed + i), maxTokens: 40 + 5 * i }))
    const answers = await Promise.all(
      requests.map((request, i) => {
        const prefill = i % 4 === 3 ? 'exact' : 'refined'
        return read(engine, { ...request, prefill, ...(prefill === 'refined' && { verify: true }) })
      }),
    )
    for (const [i, got] of answers.entries()) {
      const want = await read(exact, requests[i]!)
      expect(got.done.ids, `request ${i}`).toEqual(want.done.ids)
      expect(got.shown.map(({ id }) => id)).toEqual(got.done.ids)
    }
    expect(engine.stats.preemptions).toBeGreaterThan(0)
    expect(engine.stats.pages_in_use).toBe(0)
    await engine.close()
  })

  test('generateMany holds corrected answers', async () => {
    const requests = Array.from({ length: 4 }, (_, i) => ({ prompt: randomPrompt(60 + i, 50 + i), maxTokens: 8 }))
    const refined = requests.map((request) => ({ ...request, prefill: 'refined' as const }))
    for await (const { index, result } of engines.coarse.generateMany(refined))
      expect(result!.ids).toEqual((await read(exact, requests[index]!)).done.ids)
  })
})

describe('readers that leave', () => {
  test('cancel, leave and throw at any event, and nothing is held; the others get their answers', async () => {
    const engine = await load('mixed', { kvTokens: 512, context: 256, passTokens: 48 })
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            length: fc.integer({ min: 28, max: 70 }),
            prompt: fc.nat(1000),
            maxTokens: fc.integer({ min: 1, max: 14 }),
            verify: fc.boolean(),
            how: fc.constantFrom('read', 'read', 'cancel', 'leave', 'throw', 'abort'),
            /** The event at which it happens; a correction counts as many. */
            at: fc.nat(16),
          }),
          { minLength: 1, maxLength: 4 },
        ),
        async (wishes) => {
          const outcomes = await Promise.all(wishes.map((wish) => leaving(engine, wish)))
          for (const [i, ids] of outcomes.entries()) {
            if (!ids) continue
            const { length, prompt, maxTokens } = wishes[i]!
            const want = await read(exact, { prompt: randomPrompt(length, prompt), maxTokens, ignoreEos: true })
            expect(ids).toEqual(want.done.ids)
          }
          // A signal that aborts ends a request at once, between two passes.
          expect([engine.stats.pages_in_use, engine.stats.running, engine.stats.waiting]).toEqual([0, 0, 0])
        },
      ),
      { numRuns: 8 },
    )
    await engine.close()
  })
})

interface Leaving {
  readonly length: number
  readonly prompt: number
  readonly maxTokens: number
  readonly verify: boolean
  readonly how: 'read' | 'cancel' | 'leave' | 'throw' | 'abort'
  readonly at: number
}

/** Returns the ids of an answer that was read to its end and is to be exact. */
async function leaving(engine: Engine, { length, prompt, maxTokens, verify, how, at }: Leaving) {
  const control = new AbortController()
  const request = { prompt: randomPrompt(length, prompt), maxTokens, ignoreEos: true, signal: control.signal }
  const answer = engine.submit({ ...request, prefill: 'refined', verify })
  let events = 0
  try {
    for await (const event of answer) {
      if (event.type === 'done') return verify ? event.ids : undefined
      events += event.type === 'correction' ? 8 : 1
      if (how === 'read' || events < at) continue
      if (how === 'cancel') answer.cancel()
      if (how === 'abort') control.abort()
      if (how === 'leave') return undefined
      if (how === 'throw') throw new Error('thrown by a reader')
    }
  } catch (error) {
    if ((error as { code?: string }).code !== 'aborted' && (error as Error).message !== 'thrown by a reader')
      throw error
  }
  return undefined
}
