import { expect, test } from 'vitest'
import { at, defined } from '../../src/base/at.ts'

test('at returns the element, also of typed arrays and texts, and an undefined one', () => {
  expect(at(['a', 'b'], 1)).toBe('b')
  expect(at(new Float32Array([0.5]), 0)).toBe(0.5)
  expect(at('text', 3)).toBe('t')
  expect(at([undefined], 0)).toBe(undefined)
})

test.each([-1, 2, 0.5, Number.NaN])('at reports which index is outside: %d', (index) => {
  expect(() => at([1, 2], index)).toThrow(`index ${index} is outside a list of 2`)
  expect(() => at([1, 2], index)).toThrow(expect.objectContaining({ code: 'internal' }))
})

test('defined passes every value but undefined', () => {
  for (const value of [0, '', null, false]) expect(defined(value)).toBe(value)
  expect(() => defined(undefined)).toThrow(expect.objectContaining({ code: 'internal' }))
})
