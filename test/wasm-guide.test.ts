/** The committed grammar engine: it is what the record says, imports nothing of a platform, and guides answers. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { type GrammarKind, type GrammarOptions, type Guide, instantiate } from '../wasm/dist/guide/guide.js'
// @ts-expect-error a script without types
import { sources } from '../wasm/guide.mjs'

const dist = new URL('../wasm/dist/guide/', import.meta.url)
const record: { sources: string; files: Record<string, { sha256: string; bytes: number; gzip: number }> } = JSON.parse(
  readFileSync(new URL('build.json', dist), 'utf8'),
)
const bytes = readFileSync(new URL('guide.wasm', dist))
const module = new WebAssembly.Module(bytes)

const words = ['{"', '":', '"}', 'true', 'name', 'age', '12', '"name"']
const tool = 256 + words.length
const end = tool + 1
const texts = [...Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)), ...words, '<|tool|>', '<|end|>'].map(
  (text) => (typeof text === 'string' ? new TextEncoder().encode(text) : text),
)

type Vocabulary = InstanceType<Guide['Vocabulary']>

function vocabulary(guide: Guide, tokenize?: (text: string) => Uint32Array): Vocabulary {
  const offsets = new Uint32Array(texts.length + 1)
  texts.forEach((text, token) => {
    offsets[token + 1] = offsets[token]! + text.length
  })
  const all = new Uint8Array(offsets[texts.length]!)
  texts.forEach((text, token) => {
    all.set(text, offsets[token])
  })
  const special = Uint8Array.from(texts, (_, token) => Number(token >= tool))
  return new guide.Vocabulary(all, offsets, special, Uint32Array.of(end), tokenize)
}

/** The longest token at each place. */
function longest(text: string): Uint32Array {
  let rest = Buffer.from(text)
  const tokens: number[] = []
  while (rest.length > 0) {
    let best = rest[0]!
    for (let token = 256; token < tool; token++)
      if (rest.subarray(0, texts[token]!.length).equals(texts[token]!) && texts[token]!.length > texts[best]!.length)
        best = token
    tokens.push(best)
    rest = rest.subarray(texts[best]!.length)
  }
  return Uint32Array.from(tokens)
}

function allowed(mask: Uint32Array): number[] {
  return texts.flatMap((_, token) => ((mask[token >>> 5]! >>> (token & 31)) & 1 ? [token] : []))
}

const person = {
  type: 'object',
  properties: { name: { type: 'string', maxLength: 12 }, age: { type: 'integer', minimum: 0, maximum: 150 } },
  required: ['name', 'age'],
  additionalProperties: false,
}

test('the committed files match the record, and were built from the current sources', () => {
  expect(record.sources, 'run npm run build:wasm').toBe(sources())
  for (const [file, { sha256, bytes }] of Object.entries(record.files)) {
    const text = readFileSync(new URL(file, dist))
    expect(text.length, file).toBe(bytes)
    expect(createHash('sha256').update(text).digest('hex'), file).toBe(sha256)
  }
})

test('the module imports nothing of a platform, and has a known size', () => {
  const imports = WebAssembly.Module.imports(module)
  expect(new Set(imports.map(({ module }) => module))).toEqual(new Set(['./guide_bg.js']))
  expect(imports.some(({ name }) => name.includes('getRandomValues') || name.includes('crypto'))).toBe(false)
  expect(bytes.length).toBeLessThan(1_900_000)
  expect(gzipSync(bytes, { level: 9 }).length).toBeLessThan(640_000)
})

describe('an instance', () => {
  const guide = instantiate(module)
  const table = vocabulary(guide)
  const mask = new Uint32Array(Math.ceil(texts.length / 32))
  const compile = (kind: GrammarKind, text: string, limits?: GrammarOptions) => table.compile(kind, text, limits)

  test('constrains random answers to the schema', () => {
    const grammar = compile('json_schema', JSON.stringify(person))
    let state = 1
    const random = (below: number) => (state = (state * 48271) % 2147483647) % below
    for (let round = 0; round < 20; round++) {
      using matcher = grammar.matcher()
      const answer: number[] = []
      while (!matcher.isStopped() && answer.length < 200) {
        expect(matcher.mask(mask)).toBe(true)
        const open = allowed(mask)
        const token = open[random(open.length)]!
        matcher.commit(token)
        if (token === end) break
        answer.push(token)
      }
      if (answer.length === 200) continue
      const value: unknown = JSON.parse(Buffer.concat(answer.map((token) => texts[token]!)).toString())
      expect(value).toEqual({ name: expect.any(String), age: expect.any(Number) })
    }
  })

  test('rolls back tokens, and clones are independent', () => {
    const matcher = compile('choice', '["ab", "ac"]').matcher()
    matcher.commit(97)
    const twin = matcher.clone()
    twin.commit(98)
    expect([matcher.isStopped(), twin.isStopped(), twin.isAccepting()]).toEqual([false, true, true])
    twin.rollback(2)
    twin.mask(mask)
    expect(allowed(mask)).toEqual([97])
    expect(() => matcher.commit(100)).toThrow(expect.objectContaining({ name: 'GuideError', code: 'rejected' }))
    matcher.commit(99)
    matcher.mask(mask)
    expect(allowed(mask)).toEqual([end])
  })

  test('forces tokens in the tokenization of the host', () => {
    const asked: string[] = []
    const forcing = vocabulary(guide, (text) => {
      asked.push(text)
      return longest(text)
    })
    const matcher = forcing.compile('choice', '["{\\"name\\":true!", "{\\"name\\":true?"]').matcher()
    const forced = matcher.forced()
    expect(forced.length).toBeGreaterThan(2)
    expect([...longest('{"name":true')].slice(0, forced.length)).toEqual([...forced])
    expect(asked).toContain('{"name":true')
    for (const token of forced) matcher.commit(token)
    expect(matcher.forced().length).toBe(0)
    const failing = vocabulary(guide, () => {
      throw new Error('no tokens')
    })
    expect(failing.compile('choice', '["true"]').matcher().forced().length).toBeLessThan(2)
  })

  test('reports what is wrong with a schema, and where', () => {
    const fault = (schema: object) => {
      try {
        compile('json_schema', JSON.stringify(schema)).free()
      } catch (error) {
        return [(error as { code: string }).code, (error as { path?: string }).path]
      }
      return undefined
    }
    expect(fault({ properties: { a: { type: 'strin' } } })).toEqual(['invalid', '/properties/a/type'])
    expect(fault({ items: { $ref: 'https://example.com/a.json' } })).toEqual(['unsupported', '/items/$ref'])
    expect(fault({ anyOf: [{ type: 'null' }, { format: 'color', type: 'string' }] })).toEqual([
      'unsupported',
      '/anyOf/1',
    ])
    expect(fault({ type: 'integer', minimum: 3, maximum: 2 })).toEqual(['unsatisfiable', ''])
    expect(fault(person)).toBeUndefined()
  })

  const nested = (depth: number) => `${'{"items":'.repeat(depth - 1)}{}${'}'.repeat(depth - 1)}`
  const hostile: [string, GrammarKind, string][] = [
    ['a schema of 1 MB', 'json_schema', JSON.stringify({ description: 'x'.repeat(1 << 20) })],
    ['a schema of depth 65', 'json_schema', nested(65)],
    ['a schema of depth 200', 'json_schema', nested(200)],
    ['a schema of depth 20000', 'json_schema', nested(20_000)],
    ['a regex of depth 100000', 'regex', '('.repeat(100_000) + ')'.repeat(100_000)],
    ['a grammar of depth 100000', 'lark', `start: ${'('.repeat(100_000)}"x"${')'.repeat(100_000)}`],
    ['a cycle of references', 'json_schema', '{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/a"}}}'],
    ['an endless schema', 'json_schema', '{"type":"array","minItems":1,"items":{"$ref":"#"}}'],
    ['a remote reference', 'json_schema', '{"$ref":"file:///etc/passwd"}'],
    ['a value that is cut inside of a letter', 'json_schema', JSON.stringify({ pattern: ['é'.repeat(200)] })],
    ['a grammar without rules', 'lark', ''],
    ['broken JSON', 'json_schema', '{'],
  ]
  test.each(hostile)('%s is refused by a GuideError, and the instance keeps working', (_, kind, text) => {
    expect(() => compile(kind, text)).toThrow(
      expect.objectContaining({ name: 'GuideError', code: expect.stringMatching(/invalid|limit|unsupported|unsat/) }),
    )
    expect(compile('json_schema', nested(64)).matcher().mask(mask)).toBe(true)
  })

  const exploding: [GrammarKind, string][] = [
    ['regex', '(a{1000}){1000}'],
    ['regex', '((a{1,1000}){1,1000}){1,1000}'],
    ['regex', '(a|b)*a(a|b){3000}'],
    ['regex', '(x+x+)+y'],
    ['regex', '.{0,100000}a.{0,100000}'],
    ['lark', 'start: a\na: a "+" a | "a"'],
    ['lark', 'start: a\na: a a a | "a" | ""'],
    [
      'json_schema',
      JSON.stringify({ items: { type: 'string', pattern: '^(a|aa)+$', minLength: 5000 }, minItems: 5000 }),
    ],
  ]
  test.each(exploding)('%s %s is matched within the limits or refused', (kind, text) => {
    try {
      const matcher = compile(kind, text).matcher()
      for (let step = 0; step < 40 && matcher.mask(mask); step++) matcher.commit(allowed(mask)[step % 2] ?? 97)
    } catch (error) {
      expect(error).toMatchObject({ name: 'GuideError' })
    }
    expect(compile('choice', '["a"]').matcher().mask(mask)).toBe(true)
  })

  test('respects its limits', () => {
    const code = (limits: GrammarOptions) => {
      try {
        const matcher = compile('regex', '(a|b)*a(a|b){12}c', limits).matcher()
        for (const byte of Buffer.from('aabbabababbbac')) {
          matcher.mask(mask)
          matcher.commit(byte)
        }
        return 'matched'
      } catch (error) {
        return (error as { code: string }).code
      }
    }
    expect(code({})).toBe('matched')
    expect(code({ bytes: 17 })).toBe('matched')
    const small: GrammarOptions[] = [
      { bytes: 16 },
      { depth: 0 },
      { compileFuel: 10 },
      { stepFuel: 1 },
      { symbols: 1 },
      { states: 10 },
    ]
    expect(small.map(code)).toEqual(small.map(() => 'limit'))
  })
})

test('a trapped instance does not affect another, and is replaced without loading a module', () => {
  const [lost, other] = [instantiate(module), instantiate(module)]
  const table = vocabulary(lost)
  const started = vocabulary(other).compile('choice', '["ab"]').matcher()
  started.commit(97)
  // 130 MB of tokens, which the module copies once: more than the 256 MiB that it may have.
  const [tokens, length] = [650_000, 200]
  const offsets = Uint32Array.from({ length: tokens + 1 }, (_, token) => token * length)
  const huge = () =>
    new lost.Vocabulary(new Uint8Array(tokens * length), offsets, new Uint8Array(tokens), Uint32Array.of(0), undefined)
  expect(huge).toThrow(WebAssembly.RuntimeError)
  expect(() => table.compile('choice', '["a"]')).toThrow()
  started.commit(98)
  expect(started.isStopped()).toBe(true)
  const next = instantiate(module)
  expect(vocabulary(next).compile('choice', '["a"]').matcher().isAccepting()).toBe(false)
})
