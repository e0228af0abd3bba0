/**
 * Loads a tiny engine with a predictor and few pages, and one with ample room to compare it with.
 */
import { loadGuides } from '../../node/guides.ts'
import { loadWasm } from '../../node/wasm.ts'
import { Engine, memorySource } from '../../src/index.ts'
import { writePredictor } from '../../src/predict/file.ts'
import { tinyFiles } from './tiny-model.ts'
import { tinyPredictor } from './tiny-predictor.ts'

export async function predictingEngines(): Promise<{ shared: Engine; alone: Engine }> {
  const wasm = await loadWasm('simd128', 1)
  const files = tinyFiles({ type: 'q8_0', layers: 7, context: 512 })
  const bare = await Engine.load(files, { wasm })
  const predictor = memorySource('predictor', await writePredictor(tinyPredictor(bare.identity, { gate: 0.2 })))
  await bare.close()
  const options = {
    wasm,
    guides: loadGuides,
    predictor,
    context: 256,
    passTokens: 32,
    schedule: { maxRunning: 12, maxWaiting: 20 },
  }
  const shared = await Engine.load(files, { ...options, kvTokens: 512 })
  const alone = await Engine.load(files, { ...options, kvTokens: 1024, prefixBytes: 0 })
  return { shared, alone }
}
