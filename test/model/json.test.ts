/** The cost of JSON is counted in its bytes, however they arrive. */

import { describe, expect, test } from 'vitest'
import { ForetokenError } from '../../src/base/errors.ts'
import { parseBoundedJson, readJson, show } from '../../src/model/json.ts'
import type { JsonBounds } from '../../src/model/json-scan.ts'
import { memorySource } from '../../src/model/source.ts'
import fc from '../helpers/properties.ts'

const wide: JsonBounds = { bytes: 1 << 20, values: 1 << 20, depth: 64 }
const read = (json: string, bounds: Partial<JsonBounds> = {}) => {
  return readJson(memorySource('f', new TextEncoder().encode(json)), { ...wide, ...bounds })
}

/** Objects, lists, entries and keys of a value, counted on the value itself. */
function valuesOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  const entries = Object.values(value)
  const keys = Array.isArray(value) ? 0 : entries.length
  return 1 + Math.max(0, entries.length - 1) + keys + entries.reduce<number>((sum, entry) => sum + valuesOf(entry), 0)
}

function depthOf(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0
  return 1 + Object.values(value).reduce<number>((most, entry) => Math.max(most, depthOf(entry)), 0)
}

const object = fc.dictionary(fc.string(), fc.jsonValue())

describe('JSON limits', () => {
  test('any object is read with limits equal to its count of values and depth, and refused with lower ones', async () => {
    await fc.assert(
      fc.asyncProperty(object, fc.boolean(), async (value, spaced) => {
        const json = JSON.stringify(value, null, spaced ? 2 : 0)
        const parsed = JSON.parse(json) as unknown
        const [values, depth] = [valuesOf(parsed), depthOf(parsed)]
        expect(await read(json, { values, depth })).toEqual(parsed)
        await expect(read(json, { values: values - 1 })).rejects.toMatchObject({ code: 'bad_model' })
        await expect(read(json, { depth: depth - 1 })).rejects.toMatchObject({ code: 'bad_model' })
      }),
      { numRuns: 300 },
    )
  })

  test('any text gives an object or one typed error', async () => {
    await fc.assert(
      fc.asyncProperty(fc.oneof(fc.string(), fc.json()), async (json) => {
        await read(json, { values: 20, depth: 3, text: 10, entries: { a: 1, 'a.b': 1 } }).catch((error: unknown) => {
          if (!(error instanceof ForetokenError)) throw error
          expect(error.code).toBe('bad_model')
        })
      }),
    )
  })

  test('bytes and string lengths are accepted up to the limit', async () => {
    await expect(read('{"a":"xyz"}', { bytes: 11, text: 3 })).resolves.toEqual({ a: 'xyz' })
    await expect(read('{"a":"xyz"}', { bytes: 10 })).rejects.toThrow(/11 bytes of JSON; at most 10/)
    await expect(read('{"a":"wxyz"}', { text: 3 })).rejects.toThrow(/a text of more than 3 bytes/)
  })

  test.each([
    ['a list', '{"a":{"b":[1,2,3]}}'],
    ['an object', '{"a":{"b":{"x":1,"y":2,"z":3}}}'],
    ['a key that is escaped', '{"\\u0061":{"b":[1,2,3]}}'],
    ['twice the same key', '{"a":{"b":[1,2]},"a":{"b":[1]}}'],
    ['quotes and brackets within texts', '{"a":{"b":["[,","\\"","\\\\"]}}'],
    ['another path before it', '{"a":{"c":[1,2,3,4],"b":[1,2,3]}}'],
  ])('entries at a path are counted: %s', async (_, json) => {
    await expect(read(json, { entries: { 'a.b': 3 } })).resolves.toBeDefined()
    await expect(read(json, { entries: { 'a.b': 2 } })).rejects.toThrow(/more than 2 entries in a\.b/)
    await expect(read(json, { entries: { b: 1, 'a.a': 1 } })).resolves.toBeDefined()
  })

  test('a text in memory has the same limits', () => {
    expect(parseBoundedJson('{"a":[1,2]}', 'f', wide)).toEqual({ a: [1, 2] })
    expect(() => parseBoundedJson('{"a":[1,2]}', 'f', { ...wide, values: 3 })).toThrow(ForetokenError)
    expect(() => parseBoundedJson('[1]', 'f', wide)).toThrow(/not a JSON object/)
  })
})

test.each<[unknown, string]>([
  ['a\nb', '"a\\nb"'],
  ['x'.repeat(5000), `"${'x'.repeat(77)}..."`],
  [new Array(5).fill(1), 'a list of 5'],
  [{ a: 1 }, 'an object'],
  [undefined, 'undefined'],
  [null, 'null'],
])('a value from a file is quoted shortly and on one line: %#', (value, shown) => expect(show(value)).toBe(shown))
