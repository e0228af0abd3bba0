import fc from 'fast-check'
import { expect, test } from 'vitest'
import { isWhole, sumExp } from '../../src/base/numbers.ts'

test('isWhole takes whole numbers within both bounds, and nothing else', () => {
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

test('sumExp gives probabilities that add up to 1, however large the logits are', () => {
  const logits = fc.array(fc.float({ min: -1e4, max: 1e4, noNaN: true }), { minLength: 1, maxLength: 200 })
  fc.assert(
    fc.property(logits, (values) => {
      const list = Float32Array.from(values)
      const top = Math.max(...list)
      const logSum = top + Math.log(sumExp(list, top))
      const total = list.reduce((sum, logit) => sum + Math.exp(logit - logSum), 0)
      // 200 terms, each with an error of a few units of the last place of its exponent, which is below 1e4.
      expect(Math.abs(total - 1)).toBeLessThan(1e-9)
    }),
  )
})
