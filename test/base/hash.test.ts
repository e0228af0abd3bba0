import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { joinBytes, joinFloats } from '../../src/base/bytes.ts'
import { equalBytes, fromHex, sha256, sha256Hex, toHex } from '../../src/base/hash.ts'
import fc from '../helpers/properties.ts'

const bytes = fc.uint8Array({ maxLength: 100 }).map((array) => Uint8Array.from(array))

test('hashes and hex equal those of Node', async () => {
  await fc.assert(
    fc.asyncProperty(bytes, async (input) => {
      const hash = createHash('sha256').update(input)
      const hex = hash.copy().digest('hex')
      expect(Buffer.from(await sha256(input)).toString('hex')).toBe(hex)
      expect(await sha256Hex(input)).toBe(hex)
      expect(toHex(input)).toBe(Buffer.from(input).toString('hex'))
      expect(fromHex(toHex(input))).toEqual(input)
      expect(fromHex(toHex(input).toUpperCase(), input.length)).toEqual(input)
    }),
  )
})

test.each([
  ['an odd number of digits', 'abc', undefined],
  ['other characters', 'zz', undefined],
  ['a digit of another script', '٠٠', undefined],
  ['a line feed at the end', 'abcd\n\n', undefined],
  ['another length', 'abcd', 3],
])('%s is not hex', (_, text, length) => {
  expect(() => fromHex(text, length)).toThrow(expect.objectContaining({ code: 'internal' }))
})

test('equalBytes detects every difference of one bit, and of length', () => {
  fc.assert(
    fc.property(bytes, fc.nat(), fc.nat(7), (a, place, bit) => {
      expect(equalBytes(a, a.slice())).toBe(true)
      expect(equalBytes(a, Uint8Array.of(...a, 0))).toBe(false)
      const b = a.slice()
      if (b.length === 0) return
      const index = place % b.length
      b[index] = (b[index] ?? 0) ^ (1 << bit)
      expect(equalBytes(a, b)).toBe(false)
    }),
  )
})

test('parts are joined in order, including zero parts and empty ones', () => {
  fc.assert(
    fc.property(fc.array(bytes, { maxLength: 10 }), (parts) => {
      expect([...joinBytes(parts)]).toEqual(parts.flatMap((part) => [...part]))
      const floats = parts.map((part) => Float32Array.from(part, (byte) => byte / 3))
      expect([...joinFloats(floats)]).toEqual(floats.flatMap((part) => [...part]))
    }),
  )
})
