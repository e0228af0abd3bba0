/**
 * In a deployed Worker the clock stands still during computation: nothing may wait for it, and no
 * result may depend on it.
 */
import { afterEach, expect, test, vi } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { Engine, memorySource } from '../../src/index.ts'
import { writePredictor } from '../../src/predict/file.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { tinyPredictor } from '../helpers/tiny-predictor.ts'

const wasm = await loadWasm('simd128')
const files = tinyFiles({ type: 'q8_0', layers: 7, context: 512 })
afterEach(() => vi.restoreAllMocks())

async function answers() {
  const bare = await Engine.load(files, { wasm })
  const predictor = memorySource('predictor', await writePredictor(tinyPredictor(bare.identity)))
  await bare.close()
  const engine = await Engine.load(files, { wasm, predictor, kv: 'int8', context: 256, kvTokens: 512, passTokens: 32 })
  const modes = ['exact', 'refined', 'auto', 'predicted', 'refined', 'exact'] as const
  const outcomes = modes.map((prefill, n) => {
    const prompt = Array.from({ length: 40 + 25 * n }, (_, i) => (i * (n + 3)) % 250)
    return engine.submit({ prompt, prefill, maxTokens: 40, ignoreEos: true }).result()
  })
  const done = await Promise.all(outcomes)
  expect(engine.stats).toMatchObject({ running: 0, waiting: 0 })
  await engine.close()
  return done
}

test('requests of every kind finish under a clock that stands still, and exact ones give the usual answer', async () => {
  const moving = await answers()
  vi.spyOn(performance, 'now').mockReturnValue(5)
  vi.spyOn(Date, 'now').mockReturnValue(5)
  const frozen = await answers()
  for (const { ids } of frozen) expect(ids).toHaveLength(40)
  for (const n of [0, 5]) expect(frozen[n]!.ids).toEqual(moving[n]!.ids)
  // Refinement proceeds although its cost is unknown.
  for (const n of [1, 4]) expect(frozen[n]!.exact_from).toBeLessThan(40)
  for (const { timings } of frozen)
    for (const value of Object.values(timings)) expect(Number.isFinite(value)).toBe(true)
})
