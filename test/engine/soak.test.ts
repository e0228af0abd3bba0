/** A minute's worth of `npm run soak`. */
import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { type ByteSource, Engine, type ModelFiles, memorySource } from '../../src/index.ts'
import { writePredictor } from '../../src/predict/file.ts'
import { besideRepository } from '../golden/golden.ts'
import { llama2cFiles } from '../helpers/llama2c.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { tinyPredictor } from '../helpers/tiny-predictor.ts'
import { isBounded, soak } from '../suites/soak.ts'

const model = besideRepository('models/stories260K/stories260K.bin')
const tokens = besideRepository('models/stories260K/tok512.bin')
const wasm = await loadWasm('auto', 1)

test.each([
  [
    'stories260K',
    model && tokens ? async () => llama2cFiles(await readFile(model), await readFile(tokens)) : undefined,
    3000,
  ],
  ['a tiny model', async () => tinyFiles(), 200],
  ['a tiny model with a predictor', async () => tinyFiles({ layers: 7 }), 200],
] as const)(
  'mixed requests on %s: no page is lost and no token is wrong',
  async (name, files, requests) => {
    if (!files) return
    const predictor = name.endsWith('predictor') ? await predictorFor(await files()) : undefined
    const load = async (kvTokens: number, prefixBytes: number | undefined) =>
      Engine.load(await files(), {
        wasm,
        context: 256,
        kvTokens,
        passTokens: 64,
        schedule: { maxRunning: 16, maxWaiting: 20 },
        ...(prefixBytes !== undefined && { prefixBytes }),
        ...(predictor && { predictor }),
      })
    const [shared, alone] = [await load(400, undefined), await load(256, 0)]
    const report = await soak(shared, alone, { requests, seed: 20_261_124, sample: Math.min(200, requests / 4) })
    expect(report, JSON.stringify(report)).toMatchObject({ wrong: 0, leaked_pages: 0 })
    expect(report.compared).toBeGreaterThan(requests / 20)
    const kinds = ['finished', 'cancelled', 'refused', 'invalid', 'cached_tokens'] as const
    for (const kind of kinds) expect(report[kind], kind).toBeGreaterThan(0)
    // With a few hundred requests it is chance whether any two need the same page.
    if (requests > 1000) expect(report.preemptions).toBeGreaterThan(0)
    expect(isBounded(report), JSON.stringify(report)).toBe(true)
    for (const engine of [shared, alone]) await engine.close()
  },
  120_000,
)

async function predictorFor(files: ModelFiles): Promise<ByteSource> {
  const engine = await Engine.load(files, { wasm })
  await engine.close()
  return memorySource('tiny', await writePredictor(tinyPredictor(engine.identity, { gate: 0.5 })))
}
