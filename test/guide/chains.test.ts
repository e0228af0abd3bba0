/** Chains of references that would end the shared instance are refused before it sees them. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { guidesOf } from '../../src/guide/guides.ts'
import { checkLarkChains } from '../../src/guide/rule-chains.ts'
import type { Guide, JsonSchema } from '../../src/index.ts'
import { instantiate } from '../../wasm/dist/guide/guide.js'

const module = new WebAssembly.Module(readFileSync(new URL('../../wasm/dist/guide/guide.wasm', import.meta.url)))
let instances = 0
const guides = guidesOf(
  () => {
    instances++
    return instantiate(module)
  },
  {
    vocab: 257,
    eosIds: [256],
    tokenizer: {
      vocabSize: 257,
      tokenBytes: (id: number) => (id < 256 ? Uint8Array.of(id) : new Uint8Array(0)),
      isSpecial: (id: number) => id === 256,
      encode: (text: string) => [...Buffer.from(text)],
    },
  },
)

type Step = (next: JsonSchema, index: number) => JsonSchema
const defined = (count: number, step: Step, last: JsonSchema = { type: 'string' }): JsonSchema => ({
  $ref: '#/$defs/d0',
  $defs: Object.fromEntries(
    Array.from({ length: count + 1 }, (_, index) => [
      `d${index}`,
      index === count ? last : step({ $ref: `#/$defs/d${index + 1}` }, index),
    ]),
  ),
})
const schema = (schema: JsonSchema): Guide => ({ kind: 'json_schema', schema })
const lines = (count: number, line: (index: number) => string) => Array.from({ length: count }, (_, i) => line(i))
const lark = (first: string, count: number, line: (index: number) => string, last: string): Guide => ({
  kind: 'lark',
  grammar: [first, ...lines(count, line), last].join('\n'),
})
const gbnf = (count: number, line: (index: number) => string): Guide => ({
  kind: 'gbnf',
  grammar: ['root ::= x0', ...lines(count, line), `x${count} ::= "b"`].join('\n'),
})
const nullable = (depth: number, inner: JsonSchema): JsonSchema =>
  depth === 0 ? inner : { anyOf: [nullable(depth - 1, inner), { type: 'null' }] }
const property: Step = (next) => ({ type: 'object', properties: { k: next } })

const shapes: Record<string, (count: number) => Guide> = {
  properties: (count) => schema(defined(count, property)),
  'the text of a schema': (count) => schema(JSON.stringify(defined(count, property)) as never),
  anyOf: (count) => schema(defined(count, (next) => ({ anyOf: [next, { type: 'null' }] }))),
  items: (count) => schema(defined(count, (next) => ({ type: 'array', items: next }))),
  references: (count) => schema(defined(count, (next) => next)),
  'nested schemas': (count) => schema(defined(Math.floor(count / 16), (next) => nullable(16, next))),
  'a ring': (count) => schema(defined(count, property, { anyOf: [{ $ref: '#/$defs/d0' }, { type: 'null' }] })),
  'definitions in descending order': (count) =>
    schema({
      anyOf: lines(count, (index) => `#/$defs/d${count - index}`).map(($ref) => ({ $ref })),
      $defs: (defined(count, property) as { $defs: Record<string, JsonSchema> }).$defs,
    }),
  'Lark rules': (count) => lark('start: x0', count, (i) => `x${i}: x${i + 1} | "a" x${i + 1}`, `x${count}: "b"`),
  'Lark terminals': (count) => lark('start: X0', count, (i) => `X${i}: "a" X${i + 1}`, `X${count}: "b"`),
  'Lark rules over lines, with comments and attributes': (count) =>
    lark(
      '// "\nstart: x0',
      count,
      (i) => `x${i}[capture="x]:"]: "\\":"\n  | /[:"]\\//\n  | x${i + 1}\n# y: "`,
      `x${count}: "b"`,
    ),
  'a schema in Lark': (count) => ({
    kind: 'lark',
    grammar: `start: %json ${JSON.stringify(defined(count, property))}`,
  }),
  'GBNF rules': (count) => gbnf(count, (i) => `x${i} ::= x${i + 1} | "a" x${i + 1}`),
  'repeated GBNF rules': (count) => gbnf(count, (i) => `x${i} ::= "c" (x${i + 1} "a" | "d")*`),
}

describe.each(Object.entries(shapes))('a chain of %s', (_, guide) => {
  test.each([200, 1000, 2000])('of %i is refused with its place, and the instance lives', (count) => {
    guides.compile({ kind: 'regex', regex: 'a' })
    const before = instances
    expect(() => guides.compile(guide(count))).toThrow(
      expect.objectContaining({
        code: 'bad_argument',
        message: expect.stringMatching(
          /at (\/(\$defs\/d|anyOf\/)\d+|the root|the rule \w+).* lead \d+ levels deep.* 128/,
        ),
      }),
    )
    expect(instances).toBe(before)
  })

  test('of 60 is compiled', () => {
    const before = instances
    expect(guides.matcher(guide(60)).mask(new Uint32Array(9))).toBe(true)
    expect(instances).toBe(before)
  })
})

test('the limit is the 128th level, and rings, trees and many definitions are no chains', () => {
  const at = (count: number) => () => guides.compile(schema(defined(count, property)))
  expect(at(127)).not.toThrow()
  expect(at(128)).toThrow(/lead 129 levels deep; they may lead 128/)
  const wide = Object.fromEntries(lines(500, (i) => `p${i}`).map((name) => [name, { $ref: '#/$defs/node' }]))
  const node: JsonSchema = { type: 'object', properties: { next: { $ref: '#/$defs/node' }, any: { $ref: '#' } } }
  expect(() => guides.compile(schema({ type: 'object', properties: wide, $defs: { node } }))).not.toThrow()
  const rules: Guide = lark(
    `start: ${lines(300, (i) => `x${i}`).join(' | ')}`,
    300,
    (i) => `x${i}: "a${i}" start? /y:[z]/`,
    'y: "c"',
  )
  expect(() => guides.compile(rules)).not.toThrow()
})

test.each([
  ['schemas that are not closed', `start: ${'%json {'.repeat(37_000)}`],
  ['a long string', `start: "${'a\\"'.repeat(80_000)}"`],
  ['a string that is not closed', `start: "${'a'.repeat(260_000)}`],
  ['nested grammars', `start: ${'%lark {'.repeat(37_000)}`],
])('hostile Lark is read once: %s', (_, grammar) => {
  // Reading it once for each of its tokens takes longer than a test may.
  try {
    checkLarkChains(grammar)
  } catch (error) {
    expect(error).toMatchObject({ code: 'bad_argument' })
  }
})
