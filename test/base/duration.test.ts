/** Durations as people and Ollama's clients write them. */
import { expect, test } from 'vitest'
import { millisecondsOf } from '../../src/base/duration.ts'

test.each([
  ['10m', 600_000],
  ['1h30m', 5_400_000],
  ['1.5s', 1500],
  ['250ms', 250],
  ['30', 30_000],
  ['.5', 500],
  ['2d', 172_800_000],
  ['-1m', -60_000],
  [' 5s ', 5000],
  ['0', 0],
] as const)('%j is %d ms', (text, ms) => {
  expect(millisecondsOf(text)).toBeCloseTo(ms, 6)
})

test.each(['', 'm', '10 minutes', '5x', '1h 30m', '1.2.3s', '--5s', '5s!', 'NaN', '1e3'])(
  '%j is no duration',
  (text) => {
    expect(millisecondsOf(text)).toBeUndefined()
  },
)
