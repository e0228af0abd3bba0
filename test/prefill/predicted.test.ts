/** Predicted prefill against its definition, in any company, and until it is exact. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { Engine, type EngineOptions } from '../../src/index.ts'
import { memorySource } from '../../src/model/source.ts'
import { type PredictorFile, writePredictor } from '../../src/predict/file.ts'
import type { PredictorHeader } from '../../src/predict/header.ts'
import { answer, randomPrompt } from '../helpers/answers.ts'
import { NaiveLlama } from '../helpers/naive-llama.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { apartPlan, tinyPlan, tinyPredictor } from '../helpers/tiny-predictor.ts'

const wasm = await loadWasm('auto', 1)
const files = tinyFiles({ layers: 7 })
const exactEngine = await Engine.load(files, { wasm, prefixBytes: 0 })

async function load(options: Partial<EngineOptions> = {}, change: Partial<PredictorHeader> = {}) {
  const file = tinyPredictor(exactEngine.identity, change)
  const predictor = memorySource('tiny predictor', await writePredictor(file))
  return { file, engine: await Engine.load(files, { wasm, prefixBytes: 0, predictor, ...options }) }
}

afterAll(() => exactEngine.close())

describe('against the definition', () => {
  let naive: NaiveLlama
  const ids = randomPrompt(60, 5)
  let exactly: readonly number[]
  beforeAll(async () => {
    naive = await NaiveLlama.load(files)
    exactly = naive.logits(ids)
  })

  /** Log-probabilities of all tokens, and the largest difference to those of an answer's first. */
  const difference = async (
    engine: Engine,
    ids: number[],
    logits: readonly number[],
    prefill: 'exact' | 'predicted' = 'predicted',
  ) => {
    const top = Math.max(...logits)
    const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - top), 0)) + top
    let worst = 0
    const request = { prompt: ids, maxTokens: 1, prefill, topLogprobs: 20 }
    for await (const event of engine.submit(request))
      if (event.type === 'token')
        for (const { id, logprob } of event.topLogprobs!)
          worst = Math.max(worst, Math.abs(logprob - (logits[id]! - total)))
    return worst
  }

  test('the definition is right where nothing is predicted', async () => {
    const ids = randomPrompt(40, 4)
    expect(await difference(exactEngine, ids, naive.logits(ids), 'exact')).toBeLessThan(1e-4)
  })

  test.each([
    ['taps and one run', tinyPlan],
    ['no taps', { ...tinyPlan, taps: [0, 0] }],
    ['no run: the paper’s first layers only', { ...tinyPlan, runs: [], taps: [1] }],
    [
      'two runs, the last to the end',
      {
        ...tinyPlan,
        shared: 1,
        runs: [
          { from: 3, to: 4 },
          { from: 6, to: 7 },
        ],
        taps: [0, 3, 1],
      },
    ],
    ['no sinks', { ...tinyPlan, sinks: 0, window: 1 }],
    [
      'runs that touch',
      {
        ...tinyPlan,
        runs: [
          { from: 3, to: 4 },
          { from: 4, to: 6 },
        ],
        taps: [1, 0, 2],
      },
    ],
    [
      'attention without MLPs, in one layer and in two',
      {
        ...tinyPlan,
        runs: [
          { from: 3, to: 4, mlp: false },
          { from: 4, to: 6, mlp: false },
        ],
        taps: [1, 0, 2],
      },
    ],
    ['attention without MLPs right after the shared layers, and a whole layer', apartPlan],
  ])('%s', async (_, plan) => {
    const { engine, file } = await load({ passTokens: 24 }, { plan })
    const want = naive.logits(ids, { file, until: ids.length - plan.window })
    // The exact answer and one with another boundary differ by far more than int8 activations do.
    const error = await difference(engine, ids, want)
    const other = await difference(engine, ids, naive.logits(ids, { file, until: ids.length - plan.window - 3 }))
    const exact = await difference(engine, ids, exactly)
    expect(error).toBeLessThan(0.03)
    expect(Math.min(other, exact)).toBeGreaterThan(3 * error)
    await engine.close()
  })
})

describe('in shared passes', () => {
  test.each([
    ['whole layers', tinyPlan],
    ['layers without MLPs', apartPlan],
  ])('a prediction is the same as alone, however it is split and whatever shares the pass: %s', async (_, plan) => {
    const { engine: alone } = await load({}, { plan })
    const prompts = [30, 90, 45, 16, 120].map((length, seed) => randomPrompt(length, seed))
    const want = []
    for (const ids of prompts) want.push(await answer(alone, { prompt: ids, maxTokens: 6, prefill: 'predicted' }))
    expect(want.map(({ done }) => done.prefill)).toEqual(['predicted', 'predicted', 'predicted', 'exact', 'predicted'])
    for (const passTokens of [11, 40, 256])
      for (const kinds of [['predicted'], ['exact', 'predicted', 'refined', 'auto']] as const) {
        const { engine } = await load({ passTokens, schedule: { order: 'pack' } }, { plan })
        const got = await Promise.all(
          prompts.map((ids, i) => {
            const prefill = i === 1 ? 'predicted' : kinds[i % kinds.length]!
            return answer(engine, { prompt: ids, maxTokens: 6, prefill })
          }),
        )
        const compared = kinds.length === 1 ? prompts.map((_, i) => i) : [1]
        for (const i of compared)
          expect(got[i]!.tokens, `prompt ${i}, passes of ${passTokens}`).toEqual(want[i]!.tokens)
        expect(engine.stats.pages_in_use).toBe(0)
        await engine.close()
      }
    await alone.close()
  })

  test('predicted K and V never reach the prefix cache, exact ones do', async () => {
    const { engine } = await load({ prefixBytes: 1 << 24, kvTokens: 512 })
    const ids = randomPrompt(100, 3)
    await answer(engine, { prompt: ids, maxTokens: 3, prefill: 'predicted' })
    expect(engine.stats.prefix_pages).toBe(0)
    const exact = await answer(exactEngine, { prompt: ids, maxTokens: 30 })
    const refined = await answer(engine, { prompt: ids, maxTokens: 100, prefill: 'refined' })
    expect(refined.done.exact_from).toBeLessThan(100)
    expect(engine.stats.prefix_pages).toBeGreaterThan(5)
    const again = await answer(engine, { prompt: ids, maxTokens: 30 })
    expect(again.done.cached_tokens).toBe(96)
    expect(again.tokens).toEqual(exact.tokens)
    await engine.close()
  })

  test('an unused auxiliary model changes nothing', async () => {
    const { engine } = await load({ prefixBytes: 1 << 24, kvTokens: 512, auxiliary: files })
    const ids = randomPrompt(120, 8)
    await answer(engine, { prompt: ids.slice(0, 40), maxTokens: 1 })
    const { done } = await answer(engine, { prompt: ids, maxTokens: 2, prefill: 'predicted' })
    expect([done.cached_tokens, done.prefill]).toEqual([32, 'predicted'])
    await engine.close()
  })

  test('a cached prefix and then a predicted rest give the same result in any chunks', async () => {
    const ids = randomPrompt(120, 8)
    const answers = []
    for (const passTokens of [13, 256]) {
      const { engine } = await load({ prefixBytes: 1 << 24, kvTokens: 512, passTokens })
      await answer(engine, { prompt: ids.slice(0, 40), maxTokens: 1 })
      const { tokens, done } = await answer(engine, { prompt: ids, maxTokens: 5, prefill: 'predicted' })
      expect([done.cached_tokens, done.prefill]).toEqual([32, 'predicted'])
      answers.push(tokens)
      await engine.close()
    }
    expect(answers[1]).toEqual(answers[0])
  })
})

describe('refined', () => {
  test.each([
    [16, tinyPlan],
    [256, tinyPlan],
    [16, apartPlan],
    [256, apartPlan],
  ])('continues as exact, to the bit, in passes of %i', async (passTokens, plan) => {
    const { engine } = await load({ passTokens }, { plan })
    const ids = randomPrompt(90, 11)
    const { tokens, done } = await answer(engine, { prompt: ids, maxTokens: 100, prefill: 'refined' })
    const from = done.exact_from!
    expect(done.prefill).toBe('refined')
    expect(from).toBeGreaterThan(0)
    expect(from).toBeLessThan(90)
    const shown = tokens.slice(0, from).map(({ id }) => id)
    const rest = await answer(exactEngine, { prompt: [...ids, ...shown], maxTokens: 100 - from })
    expect(tokens.slice(from)).toEqual(rest.tokens)
    // Before that it was the prediction's.
    const predicted = await answer(engine, { prompt: ids, maxTokens: 1, prefill: 'predicted' })
    expect(tokens[0]).toEqual(predicted.tokens[0])
    await engine.close()
  })

  test('many at once are each as exact as alone from the reported token on', async () => {
    const { engine } = await load({ kvTokens: 2048 })
    const prompts = [40, 70, 100, 33].map((length, seed) => randomPrompt(length, 20 + seed))
    const answers = await Promise.all(
      prompts.map((ids) => answer(engine, { prompt: ids, maxTokens: 150, prefill: 'refined' })),
    )
    for (const [i, { tokens, done }] of answers.entries()) {
      const from = done.exact_from!
      const shown = tokens.slice(0, from).map(({ id }) => id)
      const rest = await answer(exactEngine, { prompt: [...prompts[i]!, ...shown], maxTokens: 150 - from })
      expect(tokens.slice(from)).toEqual(rest.tokens)
    }
    await engine.close()
  })

  test('when pages run out the prompt is read again, exactly, and this is reported', async () => {
    const { engine } = await load({ kvTokens: 256, context: 256 })
    const prompts = [100, 90].map((length, seed) => randomPrompt(length, 30 + seed))
    const answers = await Promise.all(
      prompts.map((ids) => answer(engine, { prompt: ids, maxTokens: 120, prefill: 'predicted' })),
    )
    expect(engine.stats.preemptions).toBeGreaterThan(0)
    const [first, second] = answers as [(typeof answers)[0], (typeof answers)[0]]
    expect(first.done.exact_from).toBeUndefined()
    const from = second.done.exact_from!
    const shown = second.tokens.slice(0, from).map(({ id }) => id)
    const rest = await answer(exactEngine, { prompt: [...prompts[1]!, ...shown], maxTokens: 120 - from })
    expect(second.tokens.slice(from)).toEqual(rest.tokens)
    await engine.close()
  })
})

describe('auto', () => {
  test('shows nothing of which the predictor is unsure', async () => {
    const { engine } = await load({}, { gate: 1e9 })
    const prompts = [90, 40].map((length, seed) => randomPrompt(length, 40 + seed))
    const answers = await Promise.all(
      prompts.map((ids) => answer(engine, { prompt: ids, maxTokens: 20, prefill: 'auto' })),
    )
    for (const [i, { tokens, done }] of answers.entries()) {
      expect([done.prefill, done.exact_from]).toEqual(['exact', 0])
      expect(tokens).toEqual((await answer(exactEngine, { prompt: prompts[i]!, maxTokens: 20 })).tokens)
    }
    await engine.close()
  })

  test('is refined where the predictor is sure', async () => {
    const { engine } = await load({}, { gate: -1 })
    const ids = randomPrompt(90, 11)
    const auto = await answer(engine, { prompt: ids, maxTokens: 50, prefill: 'auto' })
    const refined = await answer(engine, { prompt: ids, maxTokens: 50, prefill: 'refined' })
    expect(auto.tokens[0]).toEqual(refined.tokens[0])
    expect(auto.done.prefill).toBe('refined')
    await engine.close()
  })
})

describe('limits of prediction', () => {
  test('a prompt shorter than the window is exact, and reported so', async () => {
    const { engine } = await load()
    const ids = randomPrompt(20, 2)
    const got = await answer(engine, { prompt: ids, maxTokens: 4, prefill: 'refined' })
    expect([got.done.prefill, got.done.exact_from]).toEqual(['exact', 0])
    expect(got.tokens).toEqual((await answer(exactEngine, { prompt: ids, maxTokens: 4 })).tokens)
    await engine.close()
  })

  test('an engine without a predictor, an unknown mode', async () => {
    await expect(answer(exactEngine, { prompt: [1, 2, 3], prefill: 'refined' })).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('predictor'),
    })
    await expect(answer(exactEngine, { prompt: [1], prefill: 'magic' as 'exact' })).rejects.toMatchObject({
      code: 'bad_argument',
    })
  })

  test('a predictor for other weights, or of another shape', async () => {
    const refused = async (file: PredictorFile) =>
      Engine.load(files, { wasm, predictor: memorySource('p', await writePredictor(file)) })
    await expect(refused(tinyPredictor('0'.repeat(64)))).rejects.toMatchObject({ code: 'wrong_model' })
    await expect(refused(tinyPredictor(exactEngine.identity, { layers: 8 }))).rejects.toMatchObject({
      code: 'bad_predictor',
    })
  })

  test('cancelling during refinement frees the pages', async () => {
    const { engine } = await load()
    const submission = engine.submit({
      prompt: randomPrompt(100, 1),
      maxTokens: 90,
      ignoreEos: true,
      prefill: 'refined',
    })
    let tokens = 0
    for await (const event of submission) if (event.type === 'token' && ++tokens === 3) break
    expect(engine.stats.pages_in_use).toBe(0)
    await engine.close()
  })

  test('a context that fills up during refinement', async () => {
    const { engine } = await load({ context: 110 })
    const { done } = await answer(engine, { prompt: randomPrompt(100, 1), prefill: 'refined' })
    expect([done.finishReason, done.ids.length]).toEqual(['context', 10])
    await engine.close()
  })
})
