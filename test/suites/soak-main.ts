/**
 * Runs `npm run soak`. Prints the report as JSON; exits with 1 for a wrong token, a lost page or
 * growing memory.
 */
import { readFile } from 'node:fs/promises'
import { modelFiles } from '../../node/index.ts'
import { loadWasm } from '../../node/wasm.ts'
import { Engine, ForetokenError } from '../../src/index.ts'
import { besideRepository } from '../golden/golden.ts'
import { llama2cFiles } from '../helpers/llama2c.ts'
import { isBounded, soak } from './soak.ts'

const requests = Number(process.argv[2] ?? 10_000)
const seed = Number(process.argv[3] ?? 20_261_124)
const wasm = await loadWasm('auto', 1)
const load = async (kvTokens: number, prefixBytes?: number) =>
  Engine.load(await files(), {
    wasm,
    context: 256,
    kvTokens,
    passTokens: 64,
    schedule: { maxRunning: 16, maxWaiting: 20 },
    ...(prefixBytes !== undefined && { prefixBytes }),
  })

const begun = performance.now()
const [shared, alone] = [await load(400), await load(256, 0)]
const report = await soak(shared, alone, {
  requests,
  seed,
  sample: 200,
  onProgress: (done) => process.stderr.isTTY && process.stderr.write(`\r${done} of ${requests} requests`),
})
const flat = isBounded(report) && report.heap_bytes[1] < 1.5 * report.heap_bytes[0] + 8e6
const sound = report.wrong === 0 && report.leaked_pages === 0 && flat
console.log(JSON.stringify({ ...report, seconds: Math.round((performance.now() - begun) / 1000), flat, sound }))
for (const engine of [shared, alone]) await engine.close()
process.exit(sound ? 0 : 1)

async function files() {
  const model = besideRepository('models/stories260K/stories260K.bin')
  const tokens = besideRepository('models/stories260K/tok512.bin')
  if (model && tokens) return llama2cFiles(await readFile(model), await readFile(tokens))
  const named = process.env.FORETOKEN_TEST_MODEL
  if (!named) throw new ForetokenError('not_found', 'no model to soak: set FORETOKEN_TEST_MODEL to a file or an alias')
  return modelFiles(named)
}
