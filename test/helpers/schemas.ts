/** JSON schemas for guided answers: written ones, one for each feature, and random ones built from them. */
import { readFileSync } from 'node:fs'
import type { JsonSchema } from '../../src/index.ts'
import { random } from './random.ts'

const object = (properties: Record<string, JsonSchema>, required = Object.keys(properties)): JsonSchema => ({
  type: 'object',
  properties,
  required,
  additionalProperties: false,
})
const short = { type: 'string', maxLength: 8 }

/** One for each feature. */
export const writtenSchemas: readonly JsonSchema[] = [
  { type: 'null' },
  { type: 'boolean' },
  { type: 'integer', minimum: -20, maximum: 20 },
  { type: 'integer', exclusiveMinimum: 0, exclusiveMaximum: 1000 },
  { type: 'integer', multipleOf: 5, minimum: 0, maximum: 100 },
  { type: 'number', minimum: 0, maximum: 1 },
  { type: 'number', exclusiveMinimum: -2.5, maximum: 2.5 },
  short,
  { type: 'string', minLength: 3, maxLength: 5 },
  { type: 'string', pattern: '^[a-z]{2,4}-\\d{2}$' },
  { type: 'string', pattern: '^(?:red|green|blue)$' },
  { type: 'string', format: 'date' },
  { type: 'string', format: 'time' },
  { type: 'string', format: 'date-time' },
  { type: 'string', format: 'uuid' },
  { type: 'string', format: 'ipv4' },
  { enum: ['a', 'b\n"c"', 3, true, null, { x: [1] }] },
  { const: { k: [1, 'two', null] } },
  { const: 'é\u0000 \u2028😀' },
  { type: ['integer', 'null'], minimum: 1, maximum: 9 },
  object({}),
  object({ name: short, age: { type: 'integer', minimum: 0, maximum: 150 } }),
  object({ a: { type: 'boolean' }, b: { type: 'boolean' }, c: { type: 'boolean' } }, ['b']),
  object({ a: { type: 'boolean' }, b: { type: 'boolean' } }, []),
  object({ outer: object({ inner: object({ x: { enum: [1, 2] } }) }) }),
  object({ 'a "quoted" name': { type: 'null' }, ünï: { type: 'null' }, '': { type: 'null' } }),
  { type: 'array', items: { type: 'boolean' }, maxItems: 3 },
  { type: 'array', items: { enum: [1, 2, 3] }, minItems: 2, maxItems: 4 },
  { type: 'array', prefixItems: [{ type: 'boolean' }, { enum: ['x'] }], items: false, minItems: 2 },
  { type: 'array', prefixItems: [{ type: 'null' }], items: { enum: [0, 1] }, minItems: 1, maxItems: 3 },
  { type: 'array', items: object({ id: { type: 'integer', minimum: 1, maximum: 9 } }), minItems: 1, maxItems: 2 },
  { anyOf: [{ type: 'boolean' }, { type: 'integer', minimum: 0, maximum: 9 }] },
  { anyOf: [object({ kind: { const: 'a' }, n: { enum: [1] } }), object({ kind: { const: 'b' }, s: { enum: ['x'] } })] },
  { allOf: [object({ a: { enum: [1, 2, 3] } }), { properties: { a: { enum: [2, 3, 4] } } }] },
  {
    $defs: {
      tree: object({
        leaf: { type: 'boolean' },
        more: { type: 'array', items: { $ref: '#/$defs/tree' }, maxItems: 1 },
      }),
    },
    $ref: '#/$defs/tree',
  },
  {
    definitions: { point: object({ x: { enum: [0, 1] }, y: { enum: [0, 1] } }) },
    type: 'array',
    items: { $ref: '#/definitions/point' },
    minItems: 1,
    maxItems: 2,
  },
  {
    type: 'object',
    properties: { a: { type: 'null' } },
    required: ['a'],
    additionalProperties: { type: 'boolean' },
    maxProperties: 2,
  },
  {
    type: 'object',
    patternProperties: { '^x[0-9]$': { type: 'boolean' } },
    additionalProperties: false,
    maxProperties: 2,
  },
  { title: 'With notes', description: 'Ignored', default: null, examples: [1], type: 'boolean', readOnly: true },
  object({ when: { type: 'string', format: 'date' }, who: { type: ['string', 'null'], maxLength: 4 } }, ['who']),
]

/** Returns the written schemas and, up to `count`, random ones that combine them. */
export function schemas(count: number): JsonSchema[] {
  const list = [...writtenSchemas]
  for (let seed = 0; list.length < count; seed++) list.push(combined(seed))
  return list.slice(0, count)
}

function combined(seed: number): JsonSchema {
  const { unit } = random(1000 + seed)
  const pick = <T>(from: readonly T[]): T => from[Math.floor(unit() * from.length)]!
  const leaf = (): JsonSchema => pick(writtenSchemas.filter((one) => !JSON.stringify(one).includes('$ref')))
  const node = (depth: number): JsonSchema => {
    const kind = depth === 0 ? 0 : Math.floor(unit() * 4)
    if (kind === 1) return { type: 'array', items: node(depth - 1), minItems: Math.floor(unit() * 2), maxItems: 2 }
    if (kind === 2) return { anyOf: [node(depth - 1), node(depth - 1)] }
    if (kind === 3) {
      const names = Array.from(
        { length: 1 + Math.floor(unit() * 4) },
        (_, at) => `${pick(['id', 'name', 'list', 'x y'])}${at}`,
      )
      return object(
        Object.fromEntries(names.map((name) => [name, node(depth - 1)])),
        names.filter(() => unit() < 0.6),
      )
    }
    return leaf()
  }
  return object({ a: node(2), b: node(1) }, unit() < 0.5 ? ['a'] : ['a', 'b'])
}

/** Returns real schemas, of SchemaStore; `scripts/schemastore.mjs` makes their file. */
export function realSchemas(): { readonly name: string; readonly schema: JsonSchema }[] {
  const file = new URL('../vectors/schemastore.json', import.meta.url)
  return JSON.parse(readFileSync(file, 'utf8')).schemas
}
