import { expect, test } from 'vitest'
import { byteLevelBytes } from '../../src/tokens/byte-level.ts'

test('printable bytes map to themselves, the others to letters from U+0100 on', () => {
  expect([...byteLevelBytes('Ġa!')]).toEqual([0x20, 0x61, 0x21])
  expect([...byteLevelBytes('ĀĊŃ')]).toEqual([0x00, 0x0a, 0xad])
  expect([...byteLevelBytes('Ã©')]).toEqual([0xc3, 0xa9])
})
