/** What libraries write with look-around is read as the same language. */
import { expect, test } from 'vitest'
import { z } from 'zod'
import { withoutLookAround } from '../../src/guide/known-patterns.ts'
import { accepts, bytesGuides } from '../helpers/bytes-guides.ts'
import fc from '../helpers/properties.ts'

/** Pydantic 2.11, `Decimal`, as its schemas had it. */
const decimal = '^(?!^[-+.]*$)[+-]?0*\\d*\\.?\\d*$'
const { pattern: duration } = z.toJSONSchema(z.iso.duration()) as { readonly pattern: string }

test.each([
  { name: 'duration', pattern: duration, units: ['P', 'T', 'Y', 'M', 'W', 'D', 'H', 'S', '.', ',', '1', '20'] },
  { name: 'decimal', pattern: decimal, units: ['+', '-', '.', '0', '7', '12', ' ', 'e'] },
])('$name: the same texts', ({ pattern, units }) => {
  const [wanted, found] = [new RegExp(pattern, 'u'), new RegExp(withoutLookAround(pattern), 'u')]
  expect(found.source).not.toBe(wanted.source)
  expect(found.source).not.toMatch(/\(\?[=!<]/)
  // All short texts, and longer ones by chance; each kind is among them.
  let texts = ['']
  const seen = { true: 0, false: 0 }
  const check = (text: string) => {
    expect(found.test(text), text).toBe(wanted.test(text))
    seen[`${wanted.test(text)}`]++
  }
  for (let length = 0; length <= 4; length++) {
    texts.forEach(check)
    texts = texts.flatMap((text) => units.map((unit) => text + unit))
  }
  expect(Math.min(seen.true, seen.false)).toBeGreaterThan(20)
  fc.assert(fc.property(fc.array(fc.constantFrom(...units), { maxLength: 14 }), (parts) => check(parts.join(''))))
})

test('a duration of zod is a guide; its format, which has no fractions, holds, too', () => {
  const guides = bytesGuides()
  const guide = { kind: 'json_schema', schema: z.toJSONSchema(z.iso.duration()) } as const
  expect(['P1W', 'P1Y2M', 'PT5S', 'P1DT2H'].filter((text) => !accepts(guides, guide, JSON.stringify(text)))).toEqual([])
  expect(['P', 'PT', 'P1W1D', 'P1DT', '1D'].filter((text) => accepts(guides, guide, JSON.stringify(text)))).toEqual([])
})
