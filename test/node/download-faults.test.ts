/** A short run of `npm run faults -- downloads`. */
import { expect, test } from 'vitest'
import { seed } from '../helpers/seed.ts'
import { downloadFaults } from '../suites/download-faults.ts'

test("a download that fails in any way gives the source's bytes or nothing", async () => {
  const { kinds, faults } = await downloadFaults(16, seed)
  expect(faults).toEqual([])
  expect(Object.keys(kinds)).toHaveLength(8)
})
