/**
 * Runs `npm run soak:model`. Prints reports as JSON; exits with 1 and the smallest failing command
 * sequence.
 */
import { predictingEngines } from '../helpers/predicting-engines.ts'
import { checkEngine } from './engine-model.ts'
import { checkScheduler } from './scheduler-model.ts'

const commands = Number(process.argv[2] ?? 100_000)
const seed = Number(process.argv[3] ?? 20_261_129)
const begun = performance.now()
try {
  const onProgress = (done: number) => process.stderr.isTTY && process.stderr.write(`\r${done} of ${commands} commands`)
  const report = await checkScheduler({ commands, seed, onProgress })
  console.log(JSON.stringify(report))
  // A whole engine is much slower, so it gets a hundredth of the commands.
  const engines = await predictingEngines()
  for (let done = 0; done < commands / 100; done += 250)
    console.log(JSON.stringify(await checkEngine(engines, 250, seed + done)))
  for (const engine of [engines.shared, engines.alone]) await engine.close()
  console.log(JSON.stringify({ seconds: Math.round((performance.now() - begun) / 1000), sound: true }))
} catch (error) {
  console.error(error)
  console.log(JSON.stringify({ seed, commands, sound: false }))
  process.exitCode = 1
}
