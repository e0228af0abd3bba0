/** Runs `npm run faults -- downloads`: see scripts/faults.mjs. */
import { downloadFaults } from './download-faults.ts'

const [count = 240, seed = Date.now() % 2 ** 31] = process.argv.slice(2).map(Number)
console.log(`seed ${seed}`)
const begun = performance.now()
const { kinds, faults } = await downloadFaults(count, seed, (done) => {
  if (done % 40 === 0) console.log(`${done} of ${count}`)
})
console.table(kinds)
console.log(`${count} faults injected in ${Math.round((performance.now() - begun) / 1000)} s; ${faults.length} failed`)
for (const fault of faults) console.error(fault)
process.exitCode = faults.length > 0 ? 1 : 0
