/** Prediction from another model against its definition, in any company, and until it is exact. */
import { afterAll, describe, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { Engine, type EngineOptions } from '../../src/index.ts'
import { memorySource } from '../../src/model/source.ts'
import { type LinearMap, type PredictorFile, readPredictor, writePredictor } from '../../src/predict/file.ts'
import type { AuxiliaryHeader } from '../../src/predict/header.ts'
import type { SeparatePlan } from '../../src/predict/plan.ts'
import { answer, apart, randomPrompt } from '../helpers/answers.ts'
import { NaiveLlama } from '../helpers/naive-llama.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { tinyPredictor } from '../helpers/tiny-predictor.ts'

const wasm = await loadWasm('auto', 1)
const files = tinyFiles({ layers: 7 })
const auxiliary = tinyFiles({ layers: 3, seed: 2 })
const bare = { wasm, prefixBytes: 0 }
const exactEngine = await Engine.load(files, { ...bare, auxiliary })
afterAll(() => exactEngine.close())

const plan: SeparatePlan = { kind: 'separate', map: [0, 0, 1, 1, 2, 3, 3], sinks: 4, window: 8 }
const { identity } = exactEngine.workbench.auxiliary!
const aux: AuxiliaryHeader = { identity, name: 'tiny-aux', layers: 3, hidden: 256 }
const file = tinyPredictor(exactEngine.identity, { plan, aux })
const predictor = memorySource('tiny predictor', await writePredictor(file))
const load = (options: Partial<EngineOptions> = {}) => Engine.load(files, { ...bare, predictor, auxiliary, ...options })

describe('against the definition', () => {
  test('K and V are maps of the smaller model’s states', async () => {
    const [naive, small] = [await NaiveLlama.load(files), await NaiveLlama.load(auxiliary)]
    const ids = randomPrompt(60, 5)
    const until = ids.length - plan.window
    const want = naive.logits(ids, { file, until, auxiliary: small })
    const engine = await load({ passTokens: 24 })
    const judged = { prompt: ids, continuations: [[0]] }
    const got = (await engine.workbench.logitsAfter(judged, { prefill: 'predicted' })).logits[0]!
    const error = apart(got, want)
    // The exact answer and one with another boundary differ by far more than int8 activations do.
    expect(error).toBeLessThan(0.03)
    expect(apart(got, naive.logits(ids, { file, until: until - 3, auxiliary: small }))).toBeGreaterThan(3 * error)
    expect(apart(got, naive.logits(ids))).toBeGreaterThan(3 * error)
    await engine.close()
  })
})

describe('in shared passes', () => {
  test('a prediction is the same as alone, however it is split and whatever shares the pass', async () => {
    const alone = await load()
    const prompts = [30, 90, 45, 16, 120].map((length, seed) => randomPrompt(length, seed))
    const want = []
    for (const ids of prompts) want.push(await answer(alone, { prompt: ids, maxTokens: 6, prefill: 'predicted' }))
    expect(want.map(({ done }) => done.prefill)).toEqual(['predicted', 'predicted', 'predicted', 'exact', 'predicted'])
    for (const passTokens of [11, 40, 256]) {
      const engine = await load({ passTokens, schedule: { order: 'pack' } })
      const got = await Promise.all(
        prompts.map((ids, i) => {
          const prefill = i % 2 === 1 ? 'predicted' : (['exact', 'refined', 'auto'] as const)[i >> 1]!
          return answer(engine, { prompt: ids, maxTokens: 6, prefill })
        }),
      )
      for (const i of [1, 3]) expect(got[i]!.tokens, `prompt ${i}, passes of ${passTokens}`).toEqual(want[i]!.tokens)
      expect(engine.stats.pages_in_use).toBe(0)
      await engine.close()
    }
    await alone.close()
  })

  test('after a cached prefix it is exact, and reported so: the smaller model has not read the prefix', async () => {
    const engine = await load({ prefixBytes: 1 << 24, kvTokens: 512 })
    const ids = randomPrompt(120, 8)
    await answer(engine, { prompt: ids.slice(0, 40), maxTokens: 1 })
    const { tokens, done } = await answer(engine, { prompt: ids, maxTokens: 5, prefill: 'predicted' })
    expect([done.cached_tokens, done.prefill]).toEqual([32, 'exact'])
    expect(tokens).toEqual((await answer(exactEngine, { prompt: ids, maxTokens: 5 })).tokens)
    await engine.close()
  })

  test('one that is cancelled while it is read leaves nothing behind', async () => {
    const engine = await load({ passTokens: 16, kvTokens: 256, context: 256 })
    for (let round = 0; round < 20; round++) {
      const controller = new AbortController()
      const onPrefill = () => controller.abort()
      const request = {
        prompt: randomPrompt(200, round),
        prefill: 'refined',
        signal: controller.signal,
        onPrefill,
      } as const
      await expect(answer(engine, request)).rejects.toMatchObject({ code: 'aborted' })
    }
    expect(engine.stats.pages_in_use).toBe(0)
    // Pages of the smaller model's cache would have run out by now.
    expect(
      (await answer(engine, { prompt: randomPrompt(200, 1), prefill: 'predicted', maxTokens: 2 })).done.prefill,
    ).toBe('predicted')
    await engine.close()
  })
})

describe('refined', () => {
  test.each([16, 256])('continues as exact, to the bit, in passes of %i', async (passTokens) => {
    const engine = await load({ passTokens })
    const ids = randomPrompt(90, 11)
    const { tokens, done } = await answer(engine, { prompt: ids, maxTokens: 100, prefill: 'refined' })
    const from = done.exact_from!
    expect(done.prefill).toBe('refined')
    expect(from).toBeGreaterThan(0)
    const shown = tokens.slice(0, from).map(({ id }) => id)
    const rest = await answer(exactEngine, { prompt: [...ids, ...shown], maxTokens: 100 - from })
    expect(tokens.slice(from)).toEqual(rest.tokens)
    await engine.close()
  })
})

test('the work is counted: the smaller model over all that it reads, the base over the exact part', async () => {
  const engine = await load()
  const { config } = engine.archive
  const layer = 256 * (2 * 256 + 2 * 128) + 3 * 256 * 512
  const attended = (from: number, to: number) => 2 * 256 * ((from + to) / 2) * (to - from)
  const run = (from: number, to: number) => (to - from) * layer + attended(from, to)
  const exact = 7 * run(0, 100) + config.vocab * 256
  const wanted = exact - 7 * run(4, 92) + 3 * run(0, 92) + 88 * 7 * 256 * 256
  expect(engine.prediction!.share(config, 100, 0)).toBeCloseTo(wanted / exact, 10)
  await engine.close()
})

describe('the smaller model', () => {
  test('may be some layers of another, or of the base itself', async () => {
    const kept = [0, 3, 6]
    const pruned = await Engine.load(files, { ...bare, auxiliary: files, auxiliaryLayers: kept })
    const { identity, config } = pruned.workbench.auxiliary!
    expect(config.layers).toBe(3)
    const header = { ...file.header, aux: { ...aux, identity, kept } }
    const source = memorySource('pruned', await writePredictor({ ...file, header }))
    const engine = await Engine.load(files, { ...bare, predictor: source, auxiliary: files })
    const { done } = await answer(engine, { prompt: randomPrompt(60, 1), prefill: 'predicted', maxTokens: 2 })
    expect(done.prefill).toBe('predicted')
    await engine.close()
    await pruned.close()
  })

  test.each([
    ['is missing', {}, 'bad_argument', 'tiny-aux'],
    ['is another one', { auxiliary: tinyFiles({ layers: 3, seed: 9 }) }, 'wrong_model', 'tiny-aux'],
    ['has layers that are not there', { auxiliary, auxiliaryLayers: [0, 7] }, 'bad_argument', '0 to 2'],
    ['has layers out of order', { auxiliary, auxiliaryLayers: [2, 1] }, 'bad_argument', 'ascending'],
  ])('%s: refused', async (_, options, code, text) => {
    const loading = Engine.load(files, { ...bare, predictor, ...options })
    await expect(loading).rejects.toMatchObject({ code, message: expect.stringContaining(text) })
  })
})

describe('the header', () => {
  test.each([
    ['no auxiliary model', { aux: undefined }],
    ['a map of too few layers', { plan: { ...plan, map: [0, 1] } }],
    ['a map that goes back', { plan: { ...plan, map: [0, 1, 0, 1, 2, 3, 3] } }],
    ['a map beyond the top', { plan: { ...plan, map: [0, 0, 1, 1, 2, 3, 4] } }],
    ['kept layers of another count', { aux: { ...aux, kept: [1] } }],
    ['an odd width', { aux: { ...aux, hidden: 255 } }],
  ])('%s: refused', async (_, change) => {
    const header = { ...file.header, ...change }
    const bytes = await writePredictor({ ...file, header: { ...file.header } })
    const text = new TextDecoder('latin1').decode(bytes)
    const inside = (value: object) => JSON.stringify(JSON.stringify(value)).slice(1, -1)
    expect(text).toContain(inside(file.header))
    const length = Number(new DataView(bytes.buffer).getBigUint64(0, true))
    const head = text.slice(8, 8 + length).replace(inside(file.header), () => inside(header))
    const changed = new Uint8Array(8 + head.length + bytes.length - 8 - length)
    new DataView(changed.buffer).setBigUint64(0, BigInt(head.length), true)
    changed.set(new TextEncoder().encode(head), 8)
    changed.set(bytes.subarray(8 + length), 8 + head.length)
    await expect(readPredictor(memorySource('changed', changed))).rejects.toMatchObject({ code: 'bad_predictor' })
  })
})

test('fitting to a layer-pruned copy brings answers closer to the exact ones', async () => {
  const kept = [0, 1, 2]
  const pruned = await Engine.load(files, { ...bare, auxiliary: files, auxiliaryLayers: kept })
  const { identity } = pruned.workbench.auxiliary!
  // The first layers are the base's own, so their K and V are known exactly but for int8.
  const near = { ...plan, map: [0, 1, 2, 3, 3, 3, 3] }
  const random = tinyPredictor(pruned.identity, { plan: near, aux: { ...aux, identity, kept } })
  const { header } = random
  const maps = new Map<string, LinearMap>()
  const gains: Float32Array[] = []
  async function* documents() {
    for (let seed = 0; ; seed++) yield randomPrompt(100, 1000 + seed).map((id) => id % 64)
  }
  for (let index = 0; index < 4; index++) {
    const options = { tokens: 3000, lambda: 1e-3 }
    const fitted = await pruned.workbench.fitSource(header, { maps, gains }, index, documents(), options)
    for (const [name, map] of fitted.maps) maps.set(name, map)
    gains.push(fitted.gain)
  }
  const judged = { prompt: randomPrompt(100, 5).map((id) => id % 64), continuations: [[0]] }
  const exact = (await pruned.workbench.logitsAfter(judged)).logits[0]!
  const distance = async (fit: Pick<PredictorFile, 'maps' | 'gains'>) => {
    const source = memorySource('p', await writePredictor({ ...fit, header }))
    const engine = await Engine.load(files, { ...bare, predictor: source, auxiliary: files })
    const told = (await engine.workbench.logitsAfter(judged, { prefill: 'predicted' })).logits[0]!
    await engine.close()
    return Math.hypot(...told.map((value, i) => value - exact[i]!))
  }
  expect(await distance({ maps, gains })).toBeLessThan(0.5 * (await distance(random)))
  await pruned.close()
})
