/**
 * Sends random commands to a scheduler and to an engine; `npm run soak:model` does so for a night.
 */
import { expect, test } from 'vitest'
import { predictingEngines } from '../helpers/predicting-engines.ts'
import { seed } from '../helpers/seed.ts'
import { checkEngine } from '../suites/engine-model.ts'
import { checkScheduler } from '../suites/scheduler-model.ts'

test('whatever requests do from inside and outside, each gets its own answer and every page has one owner', async () => {
  const report = await checkScheduler({ commands: 3000, seed })
  console.log(JSON.stringify(report))
  // The commands must reach the cases that they are meant for.
  expect(report.commands).toBeGreaterThanOrEqual(3000)
  expect(report.endings.whole).toBeGreaterThan(100)
  for (const code of ['aborted', 'internal']) expect(report.endings[code]).toBeGreaterThan(10)
  expect(report.preemptions).toBeGreaterThan(5)
})

test('the same holds for a whole engine: sampling, stop strings, predictions, sessions, and received K and V', async () => {
  const engines = await predictingEngines()
  const report = await checkEngine(engines, 150, seed)
  console.log(JSON.stringify(report))
  expect(report.compared).toBeGreaterThan(10)
  for (const engine of [engines.shared, engines.alone]) await engine.close()
})
