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
import type { PredictorHeader } from '../../src/predict/header.ts'
import { randomPrompt } from '../helpers/answers.ts'
import { random } from '../helpers/random.ts'
import { seed } from '../helpers/seed.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { tinyPlan, tinyPredictor } from '../helpers/tiny-predictor.ts'

const wasm = await loadWasm('auto', 1)
const files = tinyFiles({ layers: 7 })
const exact = await Engine.load(files, { wasm, prefixBytes: 0, guides: loadGuides })

/** Predicts all layers but the first 2, so that most answers depart at once, or the last one only. */
const plans = {
  coarse: { ...tinyPlan, runs: [], taps: [1] },
  fine: { ...tinyPlan, shared: 6, runs: [], taps: [1] },
}

async function load(plan: keyof typeof plans, options: Partial<EngineOptions> = {}, change: Partial<PredictorHeader> = {}) {
  const file = tinyPredictor(exact.identity, { plan: plans[plan], ...change })
  const predictor = memorySource('predictor', await writePredictor(file))
  const schedule = { refineMs: 0, ...options.schedule }
  return Engine.load(files, { wasm, prefixBytes: 0, predictor, guides: loadGuides, ...options, schedule })
}

const engines = { coarse: await load('coarse'), fine: await load('fine') }

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

describe('greedy answers', () => {
  test.each(['coarse', 'fine'] as const)('are those of exact prefill once they are corrected: %s', async (plan) => {
    const rng = random(seed)
    const departed: number[] = []
    let stood = 0
    for (let i = 0; i < 24; i++) {
      const prompt = randomPrompt(24 + rng.below(110), 100 * seed + i)
      const mode = rng.below(4) === 0 ? 'auto' : 'refined'
      const request = { prompt, maxTokens: 1 + rng.below(40), ignoreEos: true, topLogprobs: rng.below(3) }
      const got = await read(engines[plan], { ...request, prefill: mode, verify: true })
      await expectExact(got, request)
      if (typeof got.done.verified === 'number') departed.push(got.done.verified)
      else stood++
    }
    console.log(plan, departed, stood)
    expect(departed.length).toBeGreaterThan(2)
    expect(stood).toBeGreaterThan(2)
  })
})
