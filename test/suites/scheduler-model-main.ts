/** What `npm run soak:model` runs. Prints reports as JSON; exit code 1 with the smallest commands that break a rule. */
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
  // A whole engine takes so much longer that it gets a hundredth.
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
