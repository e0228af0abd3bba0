/** The judge's ways of running a prompt, against plain exact ones. */
import { afterAll, describe, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { Engine } from '../../src/index.ts'
import { memorySource } from '../../src/model/source.ts'
import { writePredictor } from '../../src/predict/file.ts'
import { apart } from '../helpers/answers.ts'
import { random } from '../helpers/random.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { tinyPredictor } from '../helpers/tiny-predictor.ts'

const wasm = await loadWasm('auto', 1)
const files = tinyFiles({ layers: 7 })
const plain = await Engine.load(files, { wasm, prefixBytes: 0 })
const predictor = memorySource('tiny predictor', await writePredictor(tinyPredictor(plain.identity)))
const engine = await Engine.load(files, { wasm, prefixBytes: 0, predictor, passTokens: 32 })
afterAll(async () => {
  await plain.close()
  await engine.close()
})

const rng = random(11)
const ids = (length: number) => Array.from({ length }, () => rng.below(256))
const judged = { prompt: ids(70), continuations: [ids(12), ids(1), ids(5)] }
const { vocab } = engine.archive.config
const exact = await engine.workbench.logitsAfter(judged)

describe('continuations', () => {
  test('each is judged as if it were the only one', async () => {
    for (const [index, continuation] of judged.continuations.entries()) {
      const alone = await engine.workbench.logitsAfter({ ...judged, continuations: [continuation] })
      expect(exact.logits[index]!.length).toBe(continuation.length * vocab)
      expect(apart(exact.logits[index]!, alone.logits[0]!)).toBe(0)
    }
  })

  test('the same holds on predicted K and V', async () => {
    const all = await engine.workbench.logitsAfter(judged, { prefill: 'predicted' })
    const last = { ...judged, continuations: judged.continuations.slice(2) }
    const alone = await engine.workbench.logitsAfter(last, { prefill: 'predicted' })
    expect(apart(all.logits[2]!, alone.logits[0]!)).toBe(0)
    expect(apart(all.logits[0]!, exact.logits[0]!)).toBeGreaterThan(0.01)
  })

  test('a window as long as the prompt leaves nothing to predict', async () => {
    const told = await engine.workbench.logitsAfter(judged, { prefill: 'predicted', window: 70 })
    expect(apart(told.logits[0]!, exact.logits[0]!)).toBe(0)
  })
})

describe('refined', () => {
  test('is predicted at first, and exact once all rows have been refined', async () => {
    const how = { prefill: 'refined', refineRows: 30 } as const
    const [refined, predicted] = [
      await engine.workbench.logitsAfter(judged, how),
      await engine.workbench.logitsAfter(judged, { prefill: 'predicted' }),
    ]
    const row = (all: Float32Array, at: number) => all.subarray(at * vocab, (at + 1) * vocab)
    const behind = (at: number) => apart(row(refined.logits[0]!, at), row(exact.logits[0]!, at))
    expect(apart(row(refined.logits[0]!, 0), row(predicted.logits[0]!, 0))).toBe(0)
    expect(behind(0)).toBeGreaterThan(0.01)
    // 66 tokens after the sinks, 30 at a time, and the tokens that came meanwhile: the fourth step
    // is exact.
    for (let at = 3; at < 12; at++) expect(behind(at)).toBeLessThan(1e-4)
  })
})

describe('pruned by attention', () => {
  test('keeping all tokens is exact', async () => {
    const all = await engine.workbench.logitsPruned(judged, { layer: 3, keep: 70 })
    for (const [index, logits] of all.logits.entries()) expect(apart(logits, exact.logits[index]!)).toBeLessThan(1e-4)
  })

  test('keeping fewer is not', async () => {
    const some = await engine.workbench.logitsPruned(judged, { layer: 3, keep: 20 })
    const fewer = await engine.workbench.logitsPruned(judged, { layer: 3, keep: 19 })
    expect(apart(some.logits[0]!, exact.logits[0]!)).toBeGreaterThan(1e-3)
    expect(apart(some.logits[0]!, fewer.logits[0]!)).toBeGreaterThan(0)
  })
})

test('the first layers alone equal the whole model when all are kept', async () => {
  const all = await engine.workbench.logitsOfLayers(judged, 7)
  expect(apart(all.logits[0]!, exact.logits[0]!)).toBe(0)
  const some = await engine.workbench.logitsOfLayers(judged, 5)
  expect(apart(some.logits[0]!, exact.logits[0]!)).toBeGreaterThan(1e-3)
})
