/** Tests the estimate of a running value, and its certainty. */

import { describe, expect, test } from 'vitest'
import { ByLength } from '../../src/route/by-length.ts'
import { Measure } from '../../src/route/measure.ts'
import fc from '../helpers/properties.ts'
import { random } from '../helpers/random.ts'

const learnAll = (measure: Measure, values: readonly number[], step = 1) => {
  values.forEach((value, at) => {
    measure.learn(value, at * step)
  })
  return measure
}

describe('a measure', () => {
  test('is its initial guess until a value arrives, and then the value', () => {
    const measure = new Measure(50, 0.5)
    expect(measure.estimate(0)).toEqual({ mean: 50, deviation: 25, doubt: 25 })
    measure.learn(4, 0)
    expect(measure.estimate(0).mean).toBe(4)
    expect(measure.count).toBe(1)
  })

  test('approaches the mean and deviation of its values', () => {
    const rng = random(11)
    const values = Array.from({ length: 4000 }, () => 20 + 3 * rng.normal())
    const means: number[] = []
    const measure = new Measure(1, 1)
    values.forEach((value, at) => {
      measure.learn(value, at)
      if (at > 100) means.push(measure.estimate(at).mean)
    })
    // The weight is a quarter: of a mean of means hardly any noise is left.
    expect(Math.abs(means.reduce((sum, mean) => sum + mean, 0) / means.length - 20)).toBeLessThan(0.3)
    expect(measure.estimate(4000).deviation).toBeGreaterThan(1)
    expect(measure.estimate(4000).deviation).toBeLessThan(6)
  })

  test('lies within the range of its values, for any sequence', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0.01, max: 1e6, noNaN: true }), { minLength: 1 }), (values) => {
        const { mean, deviation, doubt } = learnAll(new Measure(1, 1), values).estimate(values.length)
        expect(mean).toBeGreaterThanOrEqual(Math.min(...values) * (1 - 1e-9))
        expect(mean).toBeLessThanOrEqual(Math.max(...values) * (1 + 1e-9))
        expect(deviation).toBeGreaterThan(0)
        expect(doubt).toBeGreaterThan(0)
      }),
    )
  })

  test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])('%d is ignored', (value) => {
    const measure = new Measure(3, 1)
    measure.learn(value, 0)
    expect(measure.count).toBe(0)
    expect(measure.estimate(0).mean).toBe(3)
  })

  test('a firm estimate is not moved far by one outlier, but by several', () => {
    const measure = new Measure(1, 0.5, true)
    measure.learn(1000, 0)
    expect(measure.estimate(0).mean).toBeLessThan(2)
    for (let at = 1; at < 20; at++) measure.learn(1000, at)
    expect(measure.estimate(20).mean).toBeGreaterThan(500)
  })

  test('follows a change within a few values', () => {
    const measure = learnAll(new Measure(1, 1), Array(50).fill(10))
    for (let at = 0; at < 8; at++) measure.learn(100, 50 + at)
    expect(measure.estimate(58).mean).toBeGreaterThan(85)
  })

  test('becomes less certain over time without values, and hardly at first', () => {
    const measure = learnAll(new Measure(1, 1), [10, 10, 10, 10, 10, 10])
    const doubts = [6, 60_000, 600_000, 6_000_000].map((now) => measure.estimate(now).doubt)
    expect(doubts).toEqual([...doubts].sort((a, b) => a - b))
    expect(doubts[0]).toBeLessThan(2)
    expect(doubts.at(-1)).toBeGreaterThan(9)
    expect(measure.estimate(6_000_000).mean).toBe(10)
  })
})

describe('a measure by length', () => {
  test('uses the nearest known length for an unknown one, with less certainty', () => {
    const known = new ByLength(1, 1)
    expect(known.seen).toBe(false)
    for (let at = 0; at < 10; at++) {
      known.learn(100, 7, at)
      known.learn(3000, 2, at)
    }
    expect(known.seen).toBe(true)
    expect(known.estimate(70, 10).mean).toBe(7)
    expect(known.estimate(1, 10).mean).toBe(7)
    expect(known.estimate(2100, 10).mean).toBe(2)
    expect(known.estimate(1 << 20, 10).mean).toBe(2)
    expect(known.estimate(32, 10).doubt).toBeGreaterThan(known.estimate(100, 10).doubt)
  })
})
