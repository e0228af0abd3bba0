/** Least squares from second moments, and the int8 in which it is stored. */

import { describe, expect, test } from 'vitest'
import { halfToFloat } from '../../src/base/half.ts'
import { quantized } from '../../src/fit/quantize.ts'
import { Ridge } from '../../src/fit/ridge.ts'
import fc from '../helpers/properties.ts'
import { random } from '../helpers/random.ts'

function sumsOf(x: readonly (readonly number[])[], y: readonly (readonly number[])[]) {
  const [k, n] = [x[0]!.length, y[0]!.length]
  const sums = {
    rows: x.length,
    xx: new Float64Array(k * k),
    x: new Float64Array(k),
    xy: new Float64Array(k * n),
    y: new Float64Array(n),
  }
  x.forEach((row, r) => {
    for (let i = 0; i < k; i++) {
      sums.x[i]! += row[i]!
      for (let j = 0; j < k; j++) sums.xx[i * k + j]! += row[i]! * row[j]!
      for (let j = 0; j < n; j++) sums.xy[i * n + j]! += row[i]! * y[r]![j]!
    }
    for (let j = 0; j < n; j++) sums.y[j]! += y[r]![j]!
  })
  return sums
}

describe('ridge', () => {
  const rng = random(3)
  const [k, n, rows] = [7, 3, 200]
  const weight = Array.from({ length: n }, () => Array.from({ length: k }, rng.normal))
  const bias = [5, -2, 0.5]
  const x = Array.from({ length: rows }, () => Array.from({ length: k }, (_, i) => rng.normal() + i))
  const clean = x.map((row) => weight.map((w, o) => w.reduce((sum, v, i) => sum + v * row[i]!, bias[o]!)))

  test('recovers the map that generated the data', () => {
    const sums = sumsOf(x, clean)
    const fit = new Ridge(sums, 0).solve(sums)
    weight.flat().forEach((value, i) => {
      expect(fit.weight[i]).toBeCloseTo(value, 8)
    })
    bias.forEach((value, i) => {
      expect(fit.bias[i]).toBeCloseTo(value, 7)
    })
  })

  test('with noise the error is orthogonal to every input, and regularisation makes weights smaller', () => {
    const noisy = clean.map((row) => row.map((value) => value + rng.normal()))
    const sums = sumsOf(x, noisy)
    const fit = new Ridge(sums, 0).solve(sums)
    const error = x.map((row, r) =>
      noisy[r]!.map((value, o) => value - row.reduce((sum, v, i) => sum + v * fit.weight[o * k + i]!, fit.bias[o]!)),
    )
    for (let o = 0; o < n; o++) {
      expect(error.reduce((sum, row) => sum + row[o]!, 0)).toBeCloseTo(0, 6)
      for (let i = 0; i < k; i++) expect(error.reduce((sum, row, r) => sum + row[o]! * x[r]![i]!, 0)).toBeCloseTo(0, 5)
    }
    const size = (values: Float64Array) => values.reduce((sum, value) => sum + value * value, 0)
    expect(size(new Ridge(sums, 1).solve(sums).weight)).toBeLessThan(0.7 * size(fit.weight))
  })

  test('data that cannot be fitted are refused', () => {
    const sums = sumsOf(x, clean)
    expect(() => new Ridge({ ...sums, rows: 1 }, 0)).toThrow('too few')
    expect(() => new Ridge({ ...sums, xx: sums.xx.map(() => NaN) }, 0)).toThrow('not finite')
    expect(() => new Ridge(sums, 0).solve({ ...sums, xy: sums.xy.map(() => Infinity) })).toThrow('not finite')
    const twins = x.map(([first, ...rest]) => [first!, first!, ...rest])
    expect(() => new Ridge(sumsOf(twins, clean), 0)).toThrow('follows from the others')
    expect(() => new Ridge(sumsOf(twins, clean), 1e-3)).not.toThrow()
  })
})

describe('int8', () => {
  test('every weight is within half a step of 32, and no step is larger than necessary', () => {
    fc.assert(
      fc.property(fc.integer(), fc.double({ min: -20, max: 4, noNaN: true }), (seed, size) => {
        const rng = random(seed)
        const weight = Float64Array.from({ length: 3 * 64 }, () => rng.normal() * 2 ** size)
        const map = quantized({ weight, bias: new Float64Array(3) })
        for (let at = 0; at < weight.length; at += 32) {
          const step = halfToFloat(map.scale[at / 32]!)
          const top = Math.max(...weight.subarray(at, at + 32).map(Math.abs))
          // The next binary16 above top / 127: one part in 1024, or 2^-24 for subnormals.
          expect(step).toBeLessThanOrEqual((top / 127) * (1 + 2 ** -10) + 2 ** -24)
          for (let i = at; i < at + 32; i++)
            expect(Math.abs(map.weight[i]! * step - weight[i]!)).toBeLessThanOrEqual(step / 2 + 1e-15)
        }
      }),
      { numRuns: 60 },
    )
  })

  test('zeros stay zeros', () => {
    const map = quantized({ weight: new Float64Array(32), bias: Float64Array.of(1.5) })
    expect([map.scale[0], map.bias[0], ...map.weight]).toEqual([0, 1.5, ...new Array(32).fill(0)])
  })
})
