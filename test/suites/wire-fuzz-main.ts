/** Runs `npm run fuzz:wire`: see scripts/fuzz-wire.mjs. */
import { loadWasm } from '../../node/wasm.ts'
import { fuzzWire, wireWorld } from './wire-fuzz.ts'

const [inputs = 10_000_000, seconds = 600, seed = Date.now() % 2 ** 31] = process.argv.slice(2).map(Number)
const world = await wireWorld(await loadWasm('auto', 1))
const begun = performance.now()
console.log(`seed ${seed}`)
const report = await fuzzWire(world, inputs, seconds * 1000, seed)
console.log(JSON.stringify({ ...report, seconds: Math.round((performance.now() - begun) / 1000) }))
await world.close()
