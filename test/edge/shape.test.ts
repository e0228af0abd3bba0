/**
 * A body's contents are counted before anything is built from it, and checked up to the first error
 * only.
 */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ShapeCounter, type ShapeLimits, shapeLimits } from '../../edge/guard/shape.ts'
import { createApp } from '../../edge/index.ts'
import { chatRequest } from '../../edge/schemas/chat.ts'
import { completionRequest } from '../../edge/schemas/completions.ts'
import type { App } from '../../edge/server.ts'
import { validate } from '../../edge/validate.ts'
import type { Engine } from '../../src/index.ts'
import { ask, chatBody, refusal } from '../helpers/ask.ts'
import fc from '../helpers/properties.ts'
import { testConfig, tinyEngine } from '../helpers/tiny-server.ts'

let engine: Engine
let app: App
beforeAll(async () => {
  engine = await tinyEngine()
  app = createApp({ engine, config: { ...testConfig, limits: { messages: 5 } } })
})
afterAll(() => engine.close())

const times = <T>(count: number, of: (index: number) => T) => Array.from({ length: count }, (_, index) => of(index))
const record = (count: number, value: unknown) => Object.fromEntries(times(count, (index) => [String(index), value]))
const user = { role: 'user', content: 'x' }

describe('the largest accepted value, and one more', () => {
  test.each<[string, (count: number) => object, number, number, string]>([
    ['messages', (n) => ({ messages: times(n, () => user) }), 5, 413, 'messages'],
    ['metadata', (n) => ({ metadata: record(n, 'x') }), 16, 400, 'metadata'],
    ['biases', (n) => ({ logit_bias: record(n, 0) }), 259, 400, 'logit_bias'],
    ['stop strings', (n) => ({ stop: times(n, () => 'never') }), 16, 400, 'stop'],
    ['answers', (n) => ({ n, max_tokens: 1 }), 8, 400, 'n'],
  ])('%s', async (_, change, most, status, param) => {
    expect((await ask(app, chatBody(change(most)))).status).toBe(200)
    expect(await refusal(await ask(app, chatBody(change(most + 1))))).toMatchObject({ status, param })
  })

  test.each<[string, keyof ShapeLimits, (count: number) => string]>([
    ['depth', 'depth', (n) => `${'['.repeat(n)}${']'.repeat(n)}`],
    ['lists and objects', 'containers', (n) => `[${times(n - 1, (i) => (i % 2 ? '{}' : '[]'))}]`],
    ['strings', 'strings', (n) => `[${times(n, () => '""')}]`],
    ['numbers and words', 'scalars', (n) => `[${times(n, (i) => ['1', 'true', 'null', '-1e9'][i % 4])}]`],
    ['fields of an object', 'keys', (n) => JSON.stringify(record(n, 0))],
    ['bytes of a key', 'keyBytes', (n) => JSON.stringify({ ['k'.repeat(n)]: 0 })],
  ])('%s', (_, name, text) => {
    const most = shapeLimits[name] as number
    const count = (length: number) => counted(text(length), shapeLimits)
    expect(() => count(most)).not.toThrow()
    expect(() => count(most + 1)).toThrow(String(most))
  })
})

/** Throws what the counter throws; the text comes in pieces that end at `cuts`. */
function counted(text: string, limits: ShapeLimits, cuts: readonly number[] = []): void {
  const bytes = new TextEncoder().encode(text)
  const counter = new ShapeCounter(limits)
  for (const cut of [...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].toSorted((a, b) => a - b))
    counter.count(bytes, cut)
}

describe('the most expensive bodies are read only up to their first error', () => {
  const repeated = (open: string, piece: string, close: string) =>
    `${open}${piece.repeat((1 << 20) / piece.length - 99)}${close}`
  const head = '{"model":"tiny","messages":[{"role":"user","content":"x"}],'

  test.each([
    ['empty messages', chatBodyOf('"messages":'), '{},'],
    ['metadata', `${head}"metadata":{`, '"k":"v",'],
    ['prompts of nothing', '{"model":"tiny","prompt":[', '[],'],
    ['lists in each other', `${head}"x":`, '['],
    ['unknown fields', head, '"k":1,'],
    ['stop strings', `${head}"stop":[`, '"a",'],
  ])('%s', async (_, open, piece) => {
    let numbered = 0
    const text = repeated(open, piece, '').replaceAll('"k"', () => `"k${numbered++}"`)
    const bytes = new TextEncoder().encode(text)
    let given = 0
    const raw = new ReadableStream<Uint8Array>({
      pull(out) {
        out.enqueue(bytes.slice(given, given + 1024))
        given += 1024
        if (given >= bytes.length) out.close()
      },
    })
    const path = open.includes('prompt') ? '/v1/completions' : '/v1/chat/completions'
    const response = await ask(app, undefined, { raw, path })
    expect([400, 413]).toContain(response.status)
    expect(given).toBeLessThan(64 << 10)
  })

  test('a schema check reads no element after the first error', () => {
    const looked = (value: unknown[], check: (list: unknown) => void) => {
      let most = -1
      const list = new Proxy(value, {
        get(target, name, self) {
          if (typeof name === 'string' && /^\d+$/.test(name)) most = Math.max(most, Number(name))
          return Reflect.get(target, name, self)
        },
      })
      expect(() => check(list)).toThrow()
      return most
    }
    const prompt = (list: unknown) => validate(completionRequest, { model: 'tiny', prompt: list })
    const messages = (list: unknown) => validate(chatRequest, { model: 'tiny', messages: list })
    expect(
      looked(
        times(1000, () => -1),
        prompt,
      ),
    ).toBeLessThanOrEqual(1)
    expect(
      looked(
        times(1000, () => []),
        prompt,
      ),
    ).toBeLessThanOrEqual(1)
    expect(
      looked(
        times(100, () => 0.5),
        prompt,
      ),
    ).toBeLessThanOrEqual(1)
    expect(
      looked(
        times(1000, () => ({})),
        messages,
      ),
    ).toBeLessThanOrEqual(1)
    const parts = (content: unknown) => messages([{ role: 'user', content }])
    expect(
      looked(
        times(200, () => ({})),
        parts,
      ),
    ).toBeLessThanOrEqual(1)
  })
})

function chatBodyOf(field: string): string {
  return `{"model":"tiny",${field}[`
}

describe('input that JSON.parse would accept silently', () => {
  const whole = JSON.stringify(chatBody())
  const and = (more: string) => `${whole.slice(0, -1)},${more}}`

  test.each<[string, string, string | null]>([
    ['a field twice', and('"model":"tiny"'), 'model'],
    ['a field twice, once escaped', and('"mod\\u0065l":"tiny"'), 'model'],
    ['a field of a message twice', whole.replace('"role"', '"role":"system","role"'), 'role'],
    ['a bias twice', and('"logit_bias":{"1":1,"1":2}'), '1'],
    ['__proto__ at the top', and('"__proto__":{"n":2}'), '__proto__'],
    ['__proto__ among biases', and('"logit_bias":{"__proto__":1}'), '__proto__'],
    ['__proto__ in metadata, escaped', and('"metadata":{"__pro\\u0074o__":"x"}'), '__proto__'],
    ['half of a surrogate pair', whole.replace('hello', 'a\\ud83db'), null],
    ['the other half', whole.replace('hello', '\\uDE00'), null],
    ['the halves in the wrong order', whole.replace('hello', '\\ude00\\ud83d'), null],
    ['half of a pair in a name', whole.replace('tiny', 'tiny\\udfff'), null],
  ])('%s: 400', async (_, raw, param) => {
    expect(await refusal(await ask(app, undefined, { raw }))).toMatchObject({
      status: 400,
      code: 'invalid_value',
      param,
    })
  })

  test.each([
    ['the same field in two objects', JSON.stringify(chatBody({ messages: [user, user] }))],
    ['a value like a field', whole.replace('hello', 'model')],
    ['__proto__ in a text', whole.replace('hello', '__proto__')],
    ['a whole pair', whole.replace('hello', '\\ud83d\\ude00 \\\\ud83d')],
    ['quotes and braces in a text', whole.replace('hello', '\\"{[\\"model\\":1,\\\\')],
  ])('%s: answered', async (_, raw) => expect((await ask(app, undefined, { raw })).status).toBe(200))

  test.each(['tiny\u0000', '\u001b[31mtiny', 'tiny\n', 'tiny\u009b'])('%j is not a model name', async (model) =>
    expect(await refusal(await ask(app, chatBody({ model })))).toMatchObject({ status: 400, param: 'model' }),
  )
})

test('counts equal those of the value, however the text is split', () => {
  const limits = { ...shapeLimits, keyBytes: 1 << 20 }
  fc.assert(
    fc.property(fc.jsonValue({ maxDepth: 4 }), fc.array(fc.nat()), fc.boolean(), (value, cuts, spaced) => {
      const text = JSON.stringify(value, null, spaced ? 1 : undefined)
      fc.pre(!text.includes('__proto__') && !/\\ud[89a-f]/.test(text))
      const found = tally(value)
      const at = { ...limits, ...found }
      expect(() => counted(text, at, cuts)).not.toThrow()
      for (const name of ['depth', 'containers', 'strings', 'scalars'] as const)
        if (found[name] > 0) expect(() => counted(text, { ...at, [name]: found[name] - 1 }, cuts)).toThrow()
    }),
    { numRuns: 500, verbose: true },
  )
})

/** The same counts, of the parsed value. */
function tally(value: unknown): { depth: number; containers: number; strings: number; scalars: number } {
  if (typeof value === 'string') return { depth: 0, containers: 0, strings: 1, scalars: 0 }
  if (typeof value !== 'object' || value === null) return { depth: 0, containers: 0, strings: 0, scalars: 1 }
  const inner = Object.values(value).map(tally)
  const keys = Array.isArray(value) ? 0 : Object.keys(value).length
  return {
    depth: 1 + Math.max(0, ...inner.map(({ depth }) => depth)),
    containers: 1 + inner.reduce((sum, { containers }) => sum + containers, 0),
    strings: keys + inner.reduce((sum, { strings }) => sum + strings, 0),
    scalars: inner.reduce((sum, { scalars }) => sum + scalars, 0),
  }
}

test('any text makes the counter succeed or refuse', () => {
  const text = fc.oneof(fc.string({ unit: 'binary' }), fc.string({ unit: fc.constantFrom(...'{}[]",:\\u1ae d8\n') }))
  fc.assert(
    fc.property(text, fc.array(fc.nat()), (text, cuts) => {
      try {
        counted(text, shapeLimits, cuts)
      } catch (error) {
        expect((error as Error).name).toBe('ApiError')
      }
    }),
    { numRuns: 1000, verbose: true },
  )
})

describe('addresses', () => {
  test.each(['/v1/models/%zz', '/v1/models/%', '/v1/models/%c3%28', '/v1/models/a%00b', '/page/%zz', '/%ff'])(
    '%s is malformed: 400',
    async (path) => {
      const request = new Request('http://app.test/', { headers: { authorization: 'Bearer key-of-one' } })
      Object.defineProperty(request, 'url', { value: `http://app.test${path}` })
      expect(await refusal(await app.fetch(request))).toMatchObject({ status: 400, code: 'invalid_url' })
    },
  )

  test.each(['a b', 'a/b', 'user@host', '[::1', 'x:port', 'a\\b', '%zz'])('a host name %j: 400', async (host) => {
    const response = await ask(app, undefined, { path: '/v1/models', headers: { host } })
    expect(await refusal(response)).toMatchObject({ status: 400, code: 'invalid_url' })
  })

  test.each(['app.test', 'app.test:8787', '127.0.0.1', '[::1]:80', 'bücher.example'])('a host name %j', async (host) =>
    expect((await ask(app, undefined, { path: '/v1/models', headers: { host: encodeURI(host) } })).status).toBeLessThan(
      401,
    ),
  )
})
