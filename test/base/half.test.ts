import { describe, expect, test } from 'vitest'
import { fromHalves, halfToFloat, toHalves } from '../../src/base/half.ts'
import { random } from '../helpers/random.ts'
import { seed } from '../helpers/seed.ts'

/** All finite numbers of binary16 from 0, in order. */
const all = Array.from({ length: 0x7c00 }, (_, bits) => halfToFloat(bits))

/** Returns the bits of the nearest binary16, ties to even: the definition. */
function nearest(value: number): number {
  const size = Math.abs(value)
  let [low, high] = [0, all.length - 1]
  while (high - low > 1) {
    const middle = (low + high) >> 1
    if (all[middle]! <= size) low = middle
    else high = middle
  }
  const [down, up] = [size - all[low]!, all[high]! - size]
  const bits = down < up || (down === up && low % 2 === 0) ? low : high
  return bits + (value < 0 || Object.is(value, -0) ? 0x8000 : 0)
}

const halves = (values: readonly number[]) => {
  const into = new Uint16Array(values.length)
  return toHalves(Float32Array.from(values), into) ? [...into] : undefined
}

describe('toHalves', () => {
  test('gives the nearest binary16 of any size, ties to even', () => {
    const rng = random(seed)
    const values = Array.from({ length: 4000 }, () => (rng.unit() - 0.5) * 2 ** (rng.below(42) - 26)).map(Math.fround)
    expect(halves(values)).toEqual(values.map(nearest))
  })

  test('gives the nearest at each tie, at both sides of it, and at the ends of the subnormal numbers', () => {
    const values: number[] = [0, -0, all[1]! / 2, all[1]!, 2 ** -14, all[0x3ff]!, 65_504, 65_519]
    for (let bits = 0; bits < 0x7bff; bits += 37) {
      const middle = (all[bits]! + all[bits + 1]!) / 2
      values.push(middle, middle * (1 + 2 ** -20), middle * (1 - 2 ** -20))
    }
    const rounded = values.map(Math.fround)
    expect(halves(rounded)).toEqual(rounded.map(nearest))
    expect(halves(rounded.map((value) => -value))).toEqual(rounded.map((value) => nearest(-value)))
  })

  test('says so of numbers that no binary16 is near to', () => {
    for (const value of [65_520, -65_520, 1e9, Infinity, -Infinity, NaN]) expect(halves([1, value])).toBeUndefined()
  })
})

test('fromHalves gives what each binary16 stands for', () => {
  const bits = Uint16Array.from({ length: 0x10000 }, (_, i) => i)
  const values = new Float32Array(bits.length)
  fromHalves(bits, values)
  expect([...values]).toEqual([...bits].map(halfToFloat))
})
