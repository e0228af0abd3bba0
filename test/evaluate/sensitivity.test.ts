/** The cost of predicting some layers alone, against prefill that predicts all of them. */
import { afterAll, describe, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { Engine } from '../../src/index.ts'
import { memorySource } from '../../src/model/source.ts'
import { writePredictor } from '../../src/predict/file.ts'
import { apart } from '../helpers/answers.ts'
import { random } from '../helpers/random.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { tinyPlan, tinyPredictor } from '../helpers/tiny-predictor.ts'

const wasm = await loadWasm('auto', 1)
const files = tinyFiles({ layers: 7 })
const engine = await Engine.load(files, { wasm, prefixBytes: 0, passTokens: 24, kv: 'f32' })
afterAll(() => engine.close())

// Without sinks, so the overwritten middle begins with the prompt.
const plan = { ...tinyPlan, runs: [], taps: [0], sinks: 0 }
const file = tinyPredictor(engine.identity, { plan })
const rng = random(5)
const ids = (length: number) => Array.from({ length }, () => rng.below(256))
const probe = { prompt: ids(70), continuations: [ids(6)] }

describe('blocks of layers', () => {
  test('none is exact, each costs something, and no block stays in the cache', async () => {
    const logits = engine.workbench.sensitivity(file)
    const none = { from: 3, to: 3 }
    const [last, all] = [
      { from: 6, to: 7 },
      { from: 3, to: 7 },
    ]
    const [exact, nothing, first, second, whole] = await logits(probe, [none, last, last, all])
    expect(apart(exact!, (await engine.workbench.logitsAfter(probe)).logits[0]!)).toBeLessThan(1e-4)
    expect(apart(nothing!, exact!)).toBe(0)
    expect(apart(first!, exact!)).toBeGreaterThan(1e-2)
    expect(apart(second!, first!)).toBe(0)
    expect(apart(whole!, first!)).toBeGreaterThan(1e-2)
    expect(engine.stats.pages_in_use).toBe(0)
  })

  test("all layers after the shared ones give the plan's prediction", async () => {
    const [, told] = await engine.workbench.sensitivity(file)(probe, [{ from: 3, to: 7 }])
    const predictor = memorySource('p', await writePredictor(file))
    const predicting = await Engine.load(files, { wasm, prefixBytes: 0, predictor })
    const { logits } = await predicting.workbench.logitsAfter(probe, { prefill: 'predicted' })
    expect(apart(told!, logits[0]!)).toBeLessThan(1e-3)
    await predicting.close()
  })
})
