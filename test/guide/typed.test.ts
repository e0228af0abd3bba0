/** Guides from zod's schemas: the answer's value has their type. */
import { afterAll, expect, expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import { loadGuides } from '../../node/guides.ts'
import { jsonGuide } from '../../src/index.ts'
import { tinyEngine } from '../helpers/tiny-server.ts'

const engine = await tinyEngine({ guides: loadGuides })
afterAll(() => engine.close())

const person = z.strictObject({
  name: z.string().max(6),
  age: z.int().min(0).max(120),
  likes: z.array(z.enum(['tea', 'coffee'])).max(2),
})

test('an answer parses into a value of the type', async () => {
  const guide = jsonGuide(person, { compact: true })
  const { text, finishReason } = await engine
    .submit({ prompt: 'x', guide, temperature: 1, seed: 11, maxTokens: 300 })
    .result()
  expect(finishReason).toBe('stop')
  const value = guide.parse(text)
  expectTypeOf(value).toEqualTypeOf<{ name: string; age: number; likes: ('tea' | 'coffee')[] }>()
  expect(person.parse(value)).toEqual(value)
})

test('transforms apply, and rules that no JSON schema has are checked', () => {
  const even = jsonGuide(
    z
      .int()
      .refine((n) => n % 2 === 0, 'not even')
      .transform((n) => `number ${n}`),
  )
  expect(even.parse('4')).toBe('number 4')
  expect(() => even.parse('3')).toThrow(
    expect.objectContaining({ code: 'bad_argument', message: expect.stringMatching(/not even/) }),
  )
  expect(() => even.parse('{"a')).toThrow(/cut/)
})

test('a number that no double holds is refused, which JSON allows', () => {
  const guide = jsonGuide({ type: 'array', items: { type: 'number' } })
  expect(guide.parse('[1e300]')).toEqual([1e300])
  for (const large of ['1e400', '-1e400', '9'.repeat(400)])
    expect(() => guide.parse(`[0, ${large}]`)).toThrow(
      expect.objectContaining({ code: 'bad_argument', message: expect.stringMatching(/too large, in 1; give/) }),
    )
})

test('a plain JSON schema has the type that the caller names', () => {
  const guide = jsonGuide<{ a: number }>({ type: 'object', properties: { a: { type: 'integer' } } })
  expectTypeOf(guide.parse).returns.toEqualTypeOf<{ a: number }>()
  expect(guide.parse('{"a": 1}').a).toBe(1)
  expect(() =>
    jsonGuide({ '~standard': { version: 1, vendor: 'x', validate: () => ({ value: 1 }) } } as never),
  ).toThrow(/toJSONSchema/)
  expect(() => jsonGuide(7 as never)).toThrow(expect.objectContaining({ code: 'bad_argument' }))
})
