/**
 * Runs `npm run soak:chunks`. Prints the report as JSON; exits with 1 for a wrong token, for chunks
 * beyond their budget, and for what is not given back.
 */
import { loadWasm } from '../../node/wasm.ts'
import { Engine } from '../../src/index.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { isSound, soakChunks } from './soak-chunks.ts'

const rounds = Number(process.argv[2] ?? 3000)
const seed = Number(process.argv[3] ?? 20_261_201)
if (!Number.isSafeInteger(rounds) || rounds < 1 || !Number.isSafeInteger(seed)) {
  console.error('soak:chunks takes a number of rounds from 1, and a seed')
  process.exit(2)
}
const chunkBytes = 8 << 20
const wasm = await loadWasm('auto', 1)
const load = (options: object) => Engine.load(tinyFiles({ layers: 4, context: 1024 }), { wasm, ...options })
const [engine, exact] = [
  await load({ chunkBytes, kv: 'int8', schedule: { maxRunning: 8 } }),
  await load({ kv: 'int8', prefixBytes: 0 }),
]
const begun = performance.now()
const report = await soakChunks(engine, exact, {
  rounds,
  seed,
  chunkBytes,
  onProgress: (done) => process.stderr.isTTY && process.stderr.write(`\r${done} of ${rounds} rounds`),
})
await exact.close()
const [before, , end] = report.buffers
// A closed engine leaves its chunks to the garbage collector, and nothing else holds them.
const given = end - before < chunkBytes / 2
const sound = isSound(report) && given
console.log(JSON.stringify({ ...report, seconds: Math.round((performance.now() - begun) / 1000), given, sound }))
process.exit(sound ? 0 : 1)
