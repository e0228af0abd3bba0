/** Tests seeds of 64 bits, as clients draw them. */

import { expect, test } from 'vitest'
import { createRandom } from '../../src/decode/random.ts'
import { createSampler } from '../../src/decode/sampling.ts'
import { nextSeed, parseJson, seedIn, seedOf } from '../../src/decode/seed.ts'
import fc from '../helpers/properties.ts'

const int64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })
const first = (seed: number | bigint) => createRandom(seed)()

test('a seed keeps all of its 64 bits, through JSON and as text', () => {
  fc.assert(
    fc.property(int64, (seed) => {
      const { seed: parsed } = parseJson(`{"a": "\\"seed\\": 1", "seed" : ${seed}}`) as { seed: unknown }
      expect(BigInt(seedIn(parsed)!)).toBe(seed)
      expect(seedOf(String(seed))).toBe(seedIn(parsed))
    }),
    { seed: 1 },
  )
})

test('seeds that differ in any bit draw differently; a bigint draws as the number of equal value', () => {
  fc.assert(
    fc.property(int64, fc.nat(63), (seed, bit) => {
      const other = BigInt.asIntN(64, seed ^ (1n << BigInt(bit)))
      expect(first(other)).not.toBe(first(seed))
    }),
    { seed: 2 },
  )
  fc.assert(
    fc.property(fc.maxSafeInteger(), (seed) => {
      expect(first(BigInt(seed))).toBe(first(seed))
    }),
    { seed: 3 },
  )
})

test('the limits of 64 bits are valid seeds, and values one beyond them are not', () => {
  for (const seed of [2n ** 63n - 1n, -(2n ** 63n)]) expect(seedOf(String(seed))).toBe(seed)
  for (const seed of [2n ** 63n, -(2n ** 63n) - 1n]) expect(seedOf(String(seed))).toBeUndefined()
  for (const text of ['', '-', '1.5', '1e3', ' 1', '0x1', 'NaN', '9'.repeat(400)]) expect(seedOf(text)).toBeUndefined()
  expect(() => createSampler({ seed: 2n ** 63n })).toThrow(/seed/)
  expect(() => createSampler({ seed: 1.5 })).toThrow(/seed/)
  expect(() => createSampler({ seed: 2 ** 53 })).toThrow(/bigint/)
  expect(nextSeed(2n ** 63n - 1n, 1)).toBe(-(2n ** 63n))
  expect(nextSeed(Number.MAX_SAFE_INTEGER, 1)).toBe(2n ** 53n)
})

test('only whole numbers in a field named seed become bigints; other texts and numbers stay unchanged', () => {
  const text = `{"a": 9007199254740993, "x\\"seed": 9007199254740993, "b": "\\"seed\\":9007199254740993",
    "c": {"seed": 9007199254740993.5}, "d": [{"seed":\n-9007199254740993}]}`
  expect(parseJson(text)).toEqual({
    ...JSON.parse(text),
    d: [{ seed: '-9007199254740993' }],
  })
  expect(() => parseJson('{"seed": 09007199254740993}')).toThrow(SyntaxError)
})
