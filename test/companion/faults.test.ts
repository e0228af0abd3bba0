/** A part of `npm run faults`. */
import { expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { faults } from '../suites/faults.ts'

test('60 failures at random bytes and times cost nothing but time', async () => {
  const report = await faults(await loadWasm('auto', 1), 60, 20_261_127)
  expect(report.failures).toBe(60)
  // So that failures that never happen can't pass.
  expect(Object.values(report.given_up).reduce((sum, count) => sum + count, 0)).toBeGreaterThan(20)
})
