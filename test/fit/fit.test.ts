/** Fits a real, if tiny, model: predictions come close to what they predict. */
import { afterAll, describe, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { Engine, type EngineOptions } from '../../src/index.ts'
import { memorySource } from '../../src/model/source.ts'
import { type LinearMap, mapsOf, type PredictorFile, writePredictor } from '../../src/predict/file.ts'
import type { PredictorHeader } from '../../src/predict/header.ts'
import { sourcesOf } from '../../src/predict/plan.ts'
import { random } from '../helpers/random.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { apartPlan, tinyPredictor } from '../helpers/tiny-predictor.ts'

const wasm = await loadWasm('auto', 1)
const files = tinyFiles({ layers: 7 })
const load = (options: Partial<EngineOptions> = {}) => Engine.load(files, { wasm, prefixBytes: 0, ...options })
const engine = await load({ passTokens: 48 })
const header = tinyPredictor(engine.identity).header
afterAll(() => engine.close())

async function* documents(seed: number, length = 100, count = Infinity) {
  const rng = random(seed)
  for (let i = 0; i < count; i++) yield Array.from({ length }, () => rng.below(64))
}

const nothing = { maps: new Map<string, LinearMap>(), gains: [] }
const options = { tokens: 3000, lambda: 1e-3 }

async function fitAll(head: PredictorHeader, more: Partial<typeof options> = {}): Promise<PredictorFile> {
  const maps = new Map<string, LinearMap>()
  const gains: Float32Array[] = []
  const source = documents(1)
  for (let index = 0; index < sourcesOf(head.plan, head.layers).length; index++) {
    const fitted = await engine.workbench.fitSource(head, { maps, gains }, index, source, { ...options, ...more })
    for (const [name, map] of fitted.maps) maps.set(name, map)
    gains.push(fitted.gain)
  }
  return { header: head, maps, gains }
}

/**
 * Returns the mean KL divergence of the exact model's next-token distributions from those after a
 * predicted prompt, on other documents.
 */
async function divergence(file: PredictorFile): Promise<number> {
  const predicting = await load({ predictor: memorySource('p', await writePredictor(file)) })
  const { vocab } = predicting.archive.config
  let [sum, count] = [0, 0]
  for await (const ids of documents(77, 110, 6)) {
    const [prompt, rest] = [ids.slice(0, 100), ids.slice(100)]
    const one = { prompt, continuations: [rest] }
    const exact = (await predicting.workbench.logitsAfter(one)).logits[0]!
    const predicted = (await predicting.workbench.logitsAfter(one, { prefill: 'predicted' })).logits[0]!
    for (let row = 0; row < rest.length; row++) {
      const [p, q] = [exact, predicted].map((all) => logProbabilities(all.subarray(row * vocab, (row + 1) * vocab)))
      sum += p!.reduce((total, value, i) => total + Math.exp(value) * (value - q![i]!), 0)
      count++
    }
  }
  await predicting.close()
  return sum / count
}

function logProbabilities(logits: Float32Array): number[] {
  const top = Math.max(...logits)
  const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - top), 0)) + top
  return Array.from(logits, (logit) => logit - total)
}

describe('a fitted predictor', () => {
  test.each([
    ['whole layers', header, 5],
    // A linear map stands in for the MLPs of random weights, which are far from linear.
    ['layers without MLPs', tinyPredictor(engine.identity, { plan: apartPlan }).header, 3],
  ])('has all maps, and predicts far better than chance; taps and data help: %s', async (_, header, times) => {
    const fitted = await fitAll(header)
    expect([...fitted.maps.keys()].sort()).toEqual(
      mapsOf(header)
        .map(({ name }) => name)
        .sort(),
    )
    const wild = await divergence(tinyPredictor(engine.identity, { plan: header.plan }))
    const good = await divergence(fitted)
    expect(good).toBeLessThan(wild / times)
    const scarce = await divergence(await fitAll(header, { tokens: 300, lambda: 1e-2 }))
    expect(good).toBeLessThan(scarce)
  })

  test('is the same however documents are split into passes', async () => {
    const other = await load({ passTokens: 17 })
    const [one, two] = await Promise.all(
      [engine, other].map((which) =>
        which.workbench.fitSource(header, nothing, 0, documents(5), { ...options, tokens: 600 }),
      ),
    )
    for (const [name, map] of one!.maps) {
      const again = two!.maps.get(name)!
      let worst = 0
      map.weight.forEach((value, i) => {
        worst = Math.max(worst, Math.abs(value - again.weight[i]!))
      })
      // Sums in f32 differ in their last bits, and so may a quotient that lies on a tie.
      expect(worst, name).toBeLessThanOrEqual(2)
    }
    await other.close()
  })

  test('progress counts tokens, and stops at the available ones', async () => {
    const seen: number[] = []
    const onProgress = ({ tokens }: { tokens: number }) => seen.push(tokens)
    const some = documents(6, 100, 6)
    await engine.workbench.fitSource(header, nothing, 0, some, { tokens: 800, lambda: 1, onProgress })
    // The first two measure the spread of the inputs.
    expect(seen).toEqual([96, 192, 288, 384])
  })
})

describe('errors of a fit', () => {
  test('no documents, or too short ones', async () => {
    const short = documents(1, 3, 5)
    await expect(engine.workbench.fitSource(header, nothing, 0, short, options)).rejects.toMatchObject({
      code: 'bad_argument',
    })
  })

  test('a cancellation, which loses no page', async () => {
    const controller = new AbortController()
    const onProgress = () => controller.abort()
    const fitting = engine.workbench.fitSource(header, nothing, 0, documents(1), {
      ...options,
      signal: controller.signal,
      onProgress,
    })
    await expect(fitting).rejects.toMatchObject({ code: 'aborted' })
    expect(engine.stats.pages_in_use).toBe(0)
  })

  test('an invalid token', async () => {
    const broken = (async function* () {
      yield [1, 2, 3, 4, 5, 6, 1e6]
    })()
    await expect(engine.workbench.fitSource(header, nothing, 0, broken, options)).rejects.toMatchObject({
      code: 'bad_argument',
    })
    expect(engine.stats.pages_in_use).toBe(0)
  })
})
