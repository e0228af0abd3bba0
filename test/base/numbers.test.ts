import { expect, test } from 'vitest'
import { isWhole } from '../../src/base/numbers.ts'

test('isWhole accepts whole numbers within both bounds, and nothing else', () => {
  const values = [
    -1,
    0,
    1,
    5,
    6,
    0.5,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    '1',
    1n,
    null,
    undefined,
    [1],
    { valueOf: () => 1 },
  ]
  expect(values.filter((value) => isWhole(value, 0, 5))).toEqual([0, 1, 5])
  expect([isWhole(2 ** 53 - 1), isWhole(2 ** 53), isWhole(-1)]).toEqual([true, false, false])
  expect(isWhole(2 ** 53, 0, Number.POSITIVE_INFINITY)).toBe(true)
  expect(isWhole(Number.POSITIVE_INFINITY, 0, Number.POSITIVE_INFINITY)).toBe(false)
})
