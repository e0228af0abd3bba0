/** Keywords that are said in others: what is accepted is valid by a validator that is not ours, and what is usual is accepted. */
import { Ajv2020 } from 'ajv/dist/2020.js'
import formats from 'ajv-formats'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { JsonSchema } from '../../src/index.ts'
import { accepts, bytesGuides } from '../helpers/bytes-guides.ts'
import fc from '../helpers/properties.ts'

const guides = bytesGuides()
const ajv = new Ajv2020({ strict: false, validateFormats: true, logger: false })
formats.default(ajv)

/** Texts under a schema; both ways must say the same. */
function check(schema: JsonSchema, texts: readonly string[]): void {
  const valid = ajv.compile(schema as object)
  const guide = { kind: 'json_schema', schema } as const
  for (const text of texts) expect([text, accepts(guides, guide, text)]).toEqual([text, valid(JSON.parse(text))])
}

const a = { type: 'object', properties: { t: { const: 'x' }, n: { type: 'integer' } }, required: ['t'] }
const b = { type: 'object', properties: { t: { enum: ['y', 'z'] } }, required: ['t'] }
const $defs = { a, b, s: { type: 'string' }, x: { const: 'x' } }
const [refA, refB] = [{ $ref: '#/$defs/a' }, { $ref: '#/$defs/b', description: 'the other' }]
const tagged = ['{"t":"x"}', '{"t":"x","n":1}', '{"t":"z"}', '{"t":"w"}', '{}', '3', 'null']

describe('accepted is what is valid, of', () => {
  test.each<[string, JsonSchema, string[]]>([
    ['records of zod', z.toJSONSchema(z.record(z.string(), z.number())), ['{}', '{"a":1}', '{"a":"b"}', '[]']],
    [
      'records with listed names',
      z.toJSONSchema(z.record(z.enum(['a', 'b']), z.number())),
      ['{"a":1,"b":2}', '{"a":1}', '{"a":1,"b":2,"c":3}', '{"a":1,"b":"c"}'],
    ],
    [
      'names that are listed beside properties',
      { type: 'object', properties: { a: { type: 'integer' }, c: {} }, propertyNames: { enum: ['a', 'b'] } },
      ['{}', '{"a":1}', '{"a":1,"b":null}', '{"c":1}', '{"a":"x"}', '{"d":1}'],
    ],
    [
      'names that match',
      { type: 'object', propertyNames: { pattern: '^x' }, additionalProperties: { type: 'integer' } },
      ['{}', '{"xa":1}', '{"xa":""}', '{"ya":1}'],
    ],
    ['items that may be equal', { type: 'array', uniqueItems: false, items: { enum: [1] } }, ['[]', '[1,1]', '[2]']],
    [
      'what may never be there',
      { type: 'object', properties: { a: { not: {} }, b: {} }, additionalProperties: false },
      ['{}', '{"b":1}', '{"a":1}'],
    ],
    ['a format whose pattern says it', { type: 'string', format: 'e164', pattern: '^\\+[1-9]\\d{6,14}$' }, []],
    ['bytes in base64', { type: 'string', format: 'byte' }, ['""', '"YQ=="', '"YQ"', '"YWJj"']],
    ['a secret', { type: 'string', format: 'password' }, ['"a b"', '1']],
    [
      'numbers of 64 bits',
      { type: 'integer', minimum: -(2 ** 63), maximum: 2 ** 63 },
      ['0', '-9007199254740991', '9007199254740991', '1.5'],
    ],
    ['floats of 32 bits', z.toJSONSchema(z.float32()), ['0', '-1.5', '1234567.25', '"a"']],
    ['floats of 64 bits', z.toJSONSchema(z.float64()), ['0', '-1.5', '1234567.25', '"a"']],
    ['alternatives by reference, with a property that tells', { oneOf: [refA, refB], $defs }, tagged],
    [
      'the same without types, in an object',
      {
        type: 'object',
        oneOf: [a, b].map(({ type: _, ...rest }) => rest),
      },
      tagged,
    ],
    [
      'references to alternatives that moved',
      {
        type: 'object',
        properties: { one: { $ref: '#/$defs/u/oneOf/0' }, other: { $ref: '#/$defs/u/oneOf/1' } },
        additionalProperties: false,
        $defs: { ...$defs, u: { oneOf: [refA, refB] } },
      },
      ['{}', '{"one":{"t":"x"}}', '{"other":{"t":"y"}}', '{"one":{"t":"y"}}', '{"other":{"t":"x"}}'],
    ],
    [
      'references to alternatives beside others, and in alternatives',
      {
        oneOf: [refA, { ...b, properties: { ...b.properties, a: { $ref: '#/oneOf/0' } } }],
        anyOf: [{ type: 'object' }],
        $defs,
      },
      ['{"t":"x"}', '{"t":"y","a":{"t":"x"}}', '{"t":"y","a":{"t":"y"}}'],
    ],
    [
      'references to names that match, whose pattern was translated',
      {
        type: 'object',
        patternProperties: { '^\\d$': { type: 'integer' } },
        properties: { a: { $ref: '#/patternProperties/^\\d$' } },
        additionalProperties: false,
      },
      ['{"a":1}', '{"a":""}', '{"3":1}', '{"3":""}'],
    ],
    [
      'what may be null, by reference',
      { oneOf: [{ type: 'null' }, { $ref: '#/$defs/s' }], $defs },
      ['null', '"a"', '1'],
    ],
    [
      'alternatives beside others',
      { oneOf: [refA, refB], anyOf: [{ required: ['n'] }, { properties: { t: { const: 'z' } } }], $defs },
      ['{"t":"x","n":1}', '{"t":"z"}', '{"t":"w"}'],
    ],
  ])('%s', (_, schema, texts) => check(schema, texts))
})

test('numbers that no double tells apart are refused with what to do', () => {
  for (const schema of [
    { type: 'number', minimum: 1e20 },
    { type: 'integer', maximum: -(2 ** 60) },
  ])
    expect(() => guides.matcher({ kind: 'json_schema', schema })).toThrow(
      /numbers beyond \d+ are not supported: leave it out/,
    )
})

test('alternatives that are not known to exclude each other are refused', () => {
  const open = { properties: { t: { const: 'x' } } }
  for (const oneOf of [
    [refA, refA],
    [refA, open],
    [{ $ref: '#/$defs/x' }, { $ref: '#/$defs/s' }],
  ])
    expect(() => guides.matcher({ kind: 'json_schema', schema: { oneOf, $defs } })).toThrow(/oneOf/)
})

test('an excluded bound is excluded, and what is between bounds is accepted', () => {
  const tenths = fc.integer({ min: -35, max: 35 }).map((value) => value / 10)
  const names = fc.tuple(
    fc.constantFrom('minimum', 'exclusiveMinimum'),
    fc.constantFrom('maximum', 'exclusiveMaximum'),
    fc.constantFrom(undefined, 'number'),
  )
  fc.assert(
    fc.property(tenths, tenths, names, (one, other, [low, high, type]) => {
      fc.pre(one !== other)
      const [from, to] = [Math.min(one, other), Math.max(one, other)]
      const schema = { ...(type && { type }), [low]: from, [high]: to }
      const inside = (from + to) / 2
      const texts = [from, to, inside, from - 0.1, to + 0.1, Math.floor(to), Math.ceil(from)]
      check(
        schema,
        texts.map((value) => String(Number(value.toFixed(3)))),
      )
    }),
  )
})
