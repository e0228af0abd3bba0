/** Runs `npm run faults`: see scripts/faults.mjs. */
import { loadWasm } from '../../node/wasm.ts'
import { faults } from './faults.ts'

const [count = 2000, seed = Date.now() % 2 ** 31] = process.argv.slice(2).map(Number)
console.log(`seed ${seed}`)
const begun = performance.now()
const report = await faults(await loadWasm('auto', 1), count, seed, (done) => console.log(`${done} of ${count}`))
console.log(JSON.stringify({ ...report, seconds: Math.round((performance.now() - begun) / 1000) }))
