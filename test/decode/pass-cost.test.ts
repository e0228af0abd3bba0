/** Tests estimates of what passes cost, from those that were run. */
import { describe, expect, test } from 'vitest'
import { PassCost } from '../../src/decode/pass-cost.ts'

function learned(...passes: [rows: number, ms: number][]): PassCost {
  const cost = new PassCost()
  for (const [rows, ms] of passes) cost.learn(rows, ms)
  return cost
}

describe('an estimate', () => {
  test('interpolates linearly between observed passes, and extrapolates in proportion', () => {
    const cost = learned([2, 20], [10, 36], [100, 300])
    expect(cost.estimate(2)).toBe(20)
    expect(cost.estimate(6)).toBe(28)
    expect(cost.estimate(55)).toBe(168)
    expect(cost.estimate(200)).toBe(600)
    expect(cost.estimate(1)).toBe(10)
  })

  test('is unknown before any pass, so every size fits', () => {
    expect(new PassCost().estimate(4)).toBeUndefined()
    expect(new PassCost().rowsWithin(1, 64)).toBe(64)
  })

  test('follows a machine that slows down', () => {
    const cost = learned([1, 10])
    for (let pass = 0; pass < 30; pass++) cost.learn(1, 20)
    expect(cost.estimate(1)).toBeCloseTo(20, 1)
  })
})

describe('rows within a time limit', () => {
  test('are the most that fit, including sizes that have not run', () => {
    const cost = learned([1, 16], [128, 397])
    // 3 ms for each row after the first.
    expect(cost.rowsWithin(32, 256)).toBe(6)
    expect(cost.rowsWithin(16, 256)).toBe(1)
    expect(cost.rowsWithin(1, 256)).toBe(1)
    expect(cost.rowsWithin(10_000, 256)).toBe(256)
  })
})
