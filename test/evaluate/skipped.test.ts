/** POP and SwiftKV against their definitions, and against exact prefill where nothing is skipped. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { agreement } from '../../src/evaluate/agreement.ts'
import { skippingPlan, swiftKvHeader } from '../../src/evaluate/skipped.ts'
import { Engine } from '../../src/index.ts'
import type { PredictorFile } from '../../src/predict/file.ts'
import { apart } from '../helpers/answers.ts'
import { NaiveLlama } from '../helpers/naive-llama.ts'
import { random } from '../helpers/random.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { tinyPredictor } from '../helpers/tiny-predictor.ts'

const wasm = await loadWasm('auto', 1)
const files = tinyFiles({ layers: 7 })
const engine = await Engine.load(files, { wasm, prefixBytes: 0, passTokens: 32 })
let naive: NaiveLlama
beforeAll(async () => {
  naive = await NaiveLlama.load(files)
})
afterAll(() => engine.close())

const rng = random(21)
const ids = (length: number) => Array.from({ length }, () => rng.below(256))
const judged = { prompt: ids(70), continuations: [ids(6), ids(1)] }
const { vocab } = engine.archive.config
const exact = await engine.workbench.logitsAfter(judged)
const swiftKvFile = (from: number): PredictorFile => tinyPredictor(engine.identity, { plan: skippingPlan(from) })

/** Returns the largest difference between log-probabilities. */
function worst(got: Float32Array, wanted: readonly number[]): number {
  const [a, b] = [logProbabilities([...got]), logProbabilities(wanted)]
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0)
}

function logProbabilities(logits: readonly number[]): number[] {
  const top = Math.max(...logits)
  const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - top), 0)) + top
  return logits.map((logit) => logit - total)
}

describe('POP', () => {
  test('equals exact prefill to the bit if no layer is skipped', async () => {
    const none = await engine.workbench.skipping(7)
    for (const window of [1, 20]) {
      const { logits } = await none(judged, window)
      for (const [index, one] of logits.entries()) expect(apart(one, exact.logits[index]!)).toBe(0)
    }
  })

  test('skipping only the last layer is exact, too: its K and V come from the state before it', async () => {
    const { logits } = await (await engine.workbench.skipping(6))(judged, 1)
    expect(apart(logits[0]!, exact.logits[0]!)).toBe(0)
  })

  test.each([
    [3, 1],
    [5, 1],
    [1, 9],
  ])('follows its definition when layers from %i on are skipped, and %i tokens are exact', async (from, window) => {
    const { logits } = await (await engine.workbench.skipping(from))(judged, window)
    const until = judged.prompt.length - window
    const first = logits[0]!.subarray(0, vocab)
    expect(worst(first, naive.skippedLogits(judged.prompt, { from, sinks: 4, until }))).toBeLessThan(0.02)
    expect(apart(first, exact.logits[0]!.subarray(0, vocab))).toBeGreaterThan(0.01)
    // The answer's own tokens run through all layers, on the same cache.
    const longer = [...judged.prompt, ...judged.continuations[0]!.slice(0, 3)]
    const fourth = logits[0]!.subarray(3 * vocab, 4 * vocab)
    expect(worst(fourth, naive.skippedLogits(longer, { from, sinks: 4, until }))).toBeLessThan(0.02)
  })

  test('is the same in passes of any size', async () => {
    const other = await Engine.load(files, { wasm, prefixBytes: 0, passTokens: 17 })
    const [a, b] = [await engine.workbench.skipping(3), await other.workbench.skipping(3)]
    expect(apart((await a(judged, 5)).logits[0]!, (await b(judged, 5)).logits[0]!)).toBe(0)
    await other.close()
  })
})

describe('SwiftKV', () => {
  test('equals exact prefill to the bit if its only skipped layer has the state before it', async () => {
    const { logits } = await (await engine.workbench.skipping(swiftKvFile(6)))(judged, 1)
    for (const [index, one] of logits.entries()) expect(apart(one, exact.logits[index]!)).toBe(0)
  })

  test.each([
    [3, 1],
    [1, 9],
  ])('follows its definition when layers from %i on are skipped, and %i tokens are exact', async (from, window) => {
    const file = swiftKvFile(from)
    const { logits } = await (await engine.workbench.skipping(file))(judged, window)
    const until = judged.prompt.length - window
    expect(worst(logits[0]!.subarray(0, vocab), naive.logits(judged.prompt, { file, until }))).toBeLessThan(0.02)
  })

  test('a window as long as the prompt leaves nothing to skip', async () => {
    const { logits } = await (await engine.workbench.skipping(swiftKvFile(2)))(judged, 70)
    expect(apart(logits[0]!, exact.logits[0]!)).toBe(0)
  })

  test('fitted in closed form, it comes far closer to exact than other maps do', async () => {
    const { layers, hidden, kvHeads, headDim } = engine.archive.config
    const model = { base: engine.identity, base_name: 'tiny', layers, hidden, kv_width: kvHeads * headDim }
    const header = swiftKvHeader(model, 3, {})
    const text = (seed: number) => {
      const rows = random(seed)
      return (length: number) => Array.from({ length }, () => rows.below(64))
    }
    async function* documents() {
      for (const next = text(5); ; ) yield next(100)
    }
    const nothing = { maps: new Map(), gains: [] }
    const options = { tokens: 1500, lambda: 1e-3 }
    const { maps, gain } = await engine.workbench.fitSource(header, nothing, 0, documents(), options)
    const next = text(6)
    const one = { prompt: next(90), continuations: [next(8)] }
    const wanted = (await engine.workbench.logitsAfter(one)).logits[0]!
    const klOf = async (file: PredictorFile) => {
      const { logits } = await (await engine.workbench.skipping(file))(one, 1)
      return agreement(wanted, logits[0]!, vocab).kl
    }
    expect(await klOf({ header, maps, gains: [gain] })).toBeLessThan((await klOf(swiftKvFile(3))) / 2)
  })
})

test('pages are given back', () => {
  expect(engine.stats.pages_in_use).toBe(0)
})
