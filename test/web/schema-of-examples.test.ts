/** Schemas that are made of examples: they fit the examples, and the grammar engine compiles them. */
import { Ajv2020 } from 'ajv/dist/2020.js'
import { describe, expect, test } from 'vitest'
import { loadGuides } from '../../node/guides.ts'
import { schemaOfExamples } from '../../web/schema-of-examples.ts'
import fc from '../helpers/properties.ts'
import { tinyEngine } from '../helpers/tiny-server.ts'

const lines = (values: readonly unknown[]) => values.map((value) => JSON.stringify(value)).join('\n')

test('every example fits its schema, whatever it is', () => {
  fc.assert(
    fc.property(fc.array(fc.jsonValue({ maxDepth: 4 }), { minLength: 1, maxLength: 5 }), (values) => {
      // A single list is a list of examples.
      const fits = new Ajv2020({ strict: false, allowUnionTypes: true }).compile(schemaOfExamples(lines(values)))
      const examples = values.length === 1 && Array.isArray(values[0]) ? values[0] : values
      fc.pre(examples.length > 0)
      for (const value of examples) expect(fits(value), JSON.stringify(value)).toBe(true)
    }),
  )
})

describe('a schema', () => {
  const ada = { name: 'Ada', age: 36, tags: ['a'] }
  const bo = { name: 'Bo', age: 1.5, tags: [], mail: null }
  const expected = {
    type: 'object',
    properties: {
      name: { type: 'string' },
      age: { type: 'number' },
      tags: { type: 'array', items: { type: 'string' } },
      mail: { type: 'null' },
    },
    required: ['name', 'age', 'tags'],
    additionalProperties: false,
  }

  test.each([
    ['lines', lines([ada, bo])],
    ['lines with blank ones', `\n${lines([ada, bo]).replace('\n', '\n \n')}\n`],
    ['a list', JSON.stringify([ada, bo], undefined, 2)],
  ])('of %s', (_, text) => expect(schemaOfExamples(text)).toEqual(expected))

  test.each<[string, object]>([
    ['1\n2', { type: 'integer' }],
    ['1\n2.5', { type: 'number' }],
    ['1\n"a"', { anyOf: [{ type: 'integer' }, { type: 'string' }] }],
    ['{}', { type: 'object', properties: {}, required: [], additionalProperties: false }],
    ['[[]]', { type: 'array' }],
  ])('of %j', (text, schema) => expect(schemaOfExamples(text)).toEqual(schema))

  test('is refused without examples, and names the line that is not JSON', () => {
    for (const none of ['', ' \n', '[]']) expect(() => schemaOfExamples(none)).toThrow('there are no examples')
    expect(() => schemaOfExamples('{"a": 1}\n\n{"a": }')).toThrow('line 3 is not JSON')
  })

  test('of deep examples ends at a level', () => {
    const deep = (levels: number) => `${'['.repeat(levels)}1${']'.repeat(levels)}`
    const text = JSON.stringify(schemaOfExamples(deep(34)))
    expect(text.match(/"items"/g)).toHaveLength(32)
    expect(schemaOfExamples(deep(3))).toEqual({ type: 'array', items: { type: 'array', items: { type: 'integer' } } })
    expect(() => schemaOfExamples(deep(5000))).not.toThrow()
  })

  test('has names that objects have by themselves', () => {
    const schema = schemaOfExamples('{"__proto__": 1, "constructor": "a"}\n{"__proto__": 2, "constructor": "b"}')
    expect(Object.keys(schema.properties as object)).toEqual(['__proto__', 'constructor'])
    expect(schema.required).toEqual(['__proto__', 'constructor'])
  })

  test('is compiled by the grammar engine', async () => {
    const engine = await tinyEngine({ guides: loadGuides })
    const schema = JSON.stringify(schemaOfExamples(lines([ada, bo, { ...ada, name: 5 }])))
    await engine.prepare('a', { raw: true, guide: { kind: 'json_schema', schema } })
    await engine.close()
  })
})
