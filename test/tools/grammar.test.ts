/** The grammars of calls, in the grammar engine that guides answers. */
import { readFileSync } from 'node:fs'
import { afterAll, describe, expect, test } from 'vitest'
import { markersOf, type ToolFormat, toolFormats } from '../../src/tools/format.ts'
import { type GrammarChoice, ruleOf, thoughtfulGrammar, toolGrammar } from '../../src/tools/grammar.ts'
import { CallParser } from '../../src/tools/parser.ts'
import { writtenCalls } from '../../src/tools/write.ts'
import { instantiate } from '../../wasm/dist/guide/guide.js'

const bytes = readFileSync(new URL('../../wasm/dist/guide/guide.wasm', import.meta.url))
const guide = instantiate(new WebAssembly.Module(bytes))
const formats = Object.values(toolFormats)
const thinking = { open: '<think>', close: '</think>' }

/** A vocabulary of bytes, and special tokens. */
function vocabularyOf(specials: readonly string[]) {
  const encoder = new TextEncoder()
  const words = [...specials, '<|end|>']
  const texts = [
    ...Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)),
    ...words.map((word) => encoder.encode(word)),
  ]
  const offsets = new Uint32Array(texts.length + 1)
  for (const [id, text] of texts.entries()) offsets[id + 1] = offsets[id]! + text.length
  const all = new Uint8Array(texts.flatMap((text) => [...text]))
  const special = Uint8Array.from(texts, (_, id) => Number(id >= 256))
  const vocabulary = new guide.Vocabulary(all, offsets, special, Uint32Array.of(texts.length - 1))
  const idOf = (text: string) => (words.includes(text) ? 256 + words.indexOf(text) : undefined)
  const split = new RegExp(`(${words.map((word) => word.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')).join('|')})`)
  const encode = (text: string) =>
    text.split(split).flatMap((part) => (idOf(part) === undefined ? [...encoder.encode(part)] : [idOf(part)!]))
  return { vocabulary, idOf, encode }
}

const vocabularies = {
  'markers are special tokens': vocabularyOf([...new Set([...formats.flatMap(markersOf), ...Object.values(thinking)])]),
  'markers are text': vocabularyOf([]),
}
const tools = [
  {
    name: 'get_weather',
    parameters: {
      type: 'object',
      properties: { city: { type: 'string' }, days: { type: 'integer' }, unit: { type: 'string', enum: ['C', 'F'] } },
      required: ['city'],
      additionalProperties: false,
    },
  },
  { name: 'now', parameters: { type: 'object', properties: {}, additionalProperties: false } },
  { name: 'any' },
]
const one = [{ name: 'get_weather', arguments: { city: 'Þórs "höfn"' } }]
const two = [
  { name: 'get_weather', arguments: { city: 'Oslo', days: 3 } },
  { name: 'now', arguments: {} },
]
const free = [{ name: 'any', arguments: { a: 'x', b: 2 } }]
const auto: GrammarChoice = { required: false, parallel: true }
const required: GrammarChoice = { required: true, parallel: true }

describe.each(Object.entries(vocabularies))('%s', (_, { vocabulary, idOf, encode }) => {
  const compiled = new Map<string, ReturnType<typeof vocabulary.compile>>()
  const grammarOf = (format: ToolFormat, choice: GrammarChoice) => {
    const text = toolGrammar(format, tools, choice, idOf)
    const grammar = compiled.get(text) ?? vocabulary.compile('lark', text)
    compiled.set(text, grammar)
    return grammar
  }
  const accepts = (format: ToolFormat, choice: GrammarChoice, text: string): boolean => {
    const matcher = grammarOf(format, choice).matcher()
    try {
      for (const id of encode(text)) matcher.commit(id)
      return matcher.isAccepting()
    } catch (error) {
      expect(error).toMatchObject({ code: 'rejected' })
      return false
    } finally {
      matcher.free()
    }
  }

  describe.each(formats)('$name', (format) => {
    afterAll(() => {
      for (const grammar of compiled.values()) grammar.free()
      compiled.clear()
    })
    const calls = (list: Parameters<typeof writtenCalls>[1]) => writtenCalls(format, list)

    test('calls follow the schema of their tool', () => {
      for (const choice of [auto, required]) {
        expect(accepts(format, choice, calls(one))).toBe(true)
        expect(accepts(format, choice, calls(free))).toBe(true)
        expect(accepts(format, choice, calls([{ name: 'get_weather', arguments: { days: 3 } }]))).toBe(false)
        expect(accepts(format, choice, calls([{ name: 'get_weather', arguments: { city: 'x', days: 'y' } }]))).toBe(
          false,
        )
        expect(accepts(format, choice, calls([{ name: 'unknown', arguments: {} }]))).toBe(false)
        expect(accepts(format, choice, calls(one).slice(0, -2))).toBe(false)
      }
    })

    test('a text of one shape, or calls', () => {
      const shape = ruleOf({
        kind: 'json_schema',
        schema: { type: 'object', properties: { a: { type: 'integer' } }, required: ['a'] },
      })
      const choice = { ...auto, text: shape }
      expect(accepts(format, choice, '{"a": 1}')).toBe(true)
      expect(accepts(format, choice, '{"a": "x"}')).toBe(false)
      expect(accepts(format, choice, 'text')).toBe(false)
      expect(accepts(format, choice, (format.bare ? format.marker : '') + calls(one))).toBe(true)
    })

    test('several calls, if they are allowed', () => {
      for (const choice of [auto, required]) {
        expect(accepts(format, choice, calls(two))).toBe(format.parallel)
        expect(accepts(format, { ...choice, parallel: false }, calls(two))).toBe(false)
        expect(accepts(format, { ...choice, parallel: false }, calls(one))).toBe(true)
      }
    })

    test('text, if no call is required, and calls after it', () => {
      const text = 'Hello <there>, [x] {y} '
      expect(accepts(format, auto, text)).toBe(true)
      expect(accepts(format, auto, '')).toBe(true)
      expect(accepts(format, required, text)).toBe(false)
      expect(accepts(format, required, '')).toBe(false)
      const marked = format.bare ? format.marker + calls(one) : calls(one)
      expect(accepts(format, auto, text + marked)).toBe(true)
      expect(accepts(format, auto, marked + text)).toBe(false)
    })

    test('thoughts before them', () => {
      for (const choice of [auto, required]) {
        expect(
          accepts(format, { ...choice, thinking: { ...thinking, begun: true } }, `a {b}</think>${calls(one)}`),
        ).toBe(true)
        expect(
          accepts(format, { ...choice, thinking: { ...thinking, begun: false } }, `<think>a</think>\n\n${calls(one)}`),
        ).toBe(true)
        expect(accepts(format, { ...choice, thinking: { ...thinking, begun: false } }, calls(one))).toBe(true)
      }
      expect(accepts(format, { ...required, thinking: { ...thinking, begun: true } }, 'thoughts only')).toBe(false)
    })

    test('whatever it makes of chance, is read', () => {
      const grammar = grammarOf(format, required)
      let random = 1
      const draw = (below: number) => {
        random = (random * 48271) % 2147483647
        return random % below
      }
      let complete = 0
      for (let round = 0; round < 8; round++) {
        const matcher = grammar.matcher()
        const mask = new Uint32Array(Math.ceil(vocabulary.tokens / 32))
        const ids: number[] = []
        while (ids.length < 400 && !matcher.isStopped() && matcher.mask(mask)) {
          const allowed = Array.from({ length: vocabulary.tokens - 1 }, (_, id) => id).filter(
            // Printable characters, and the end as soon as it may come.
            (id) =>
              (mask[id >>> 5]! >>> (id & 31)) & 1 &&
              (id >= 256 || (id >= 0x20 && id < 0x7f) || id === 0x0a || id >= 0x80),
          )
          if (matcher.isAccepting() || allowed.length === 0) break
          // Quotes and brackets close what would otherwise go on.
          const closing = allowed.filter((id) => id >= 256 || '"}])>'.includes(String.fromCharCode(id)))
          const id = closing.length > 0 && draw(3) > 0 ? closing[draw(closing.length)]! : allowed[draw(allowed.length)]!
          matcher.commit(id)
          ids.push(id)
        }
        if (!matcher.isAccepting()) continue
        complete++
        const text = textOf(ids)
        const parser = new CallParser(
          format,
          tools.map(({ name }) => name),
        )
        const parts = [...parser.push(text), ...parser.finish()]
        expect(parts.filter(({ type }) => type === 'call').length, text).toBeGreaterThan(0)
        expect(
          parts.filter(({ type }) => type === 'content'),
          text,
        ).toEqual([])
        for (let index = 0; index < parser.calls; index++) {
          const all = parts.flatMap((part) => (part.type === 'arguments' && part.index === index ? [part.text] : []))
          expect(() => JSON.parse(all.join('')), text).not.toThrow()
        }
      }
      expect(complete).toBeGreaterThan(0)
    })
  })

  test('thoughts, and then a text of one shape', () => {
    for (const [guide, good, bad] of [
      [{ kind: 'json_object' }, '{"a": 1}', '[1]'],
      [{ kind: 'choice', choices: ['a "b"', 'c'] }, 'a "b"', 'b'],
      [{ kind: 'regex', regex: '^a/[0-9]+$' }, 'a/12', 'a12'],
      [{ kind: 'regex', regex: 'a\\\\/b\\/c' }, 'a\\/b/c', 'a/b/c'],
      [{ kind: 'regex', regex: 'a\\\\$' }, 'a\\', 'a'],
      [{ kind: 'regex', regex: 'a\\$' }, 'a$', 'a'],
    ] as const) {
      const rule = ruleOf(guide)!
      const grammar = vocabulary.compile('lark', thoughtfulGrammar({ ...thinking, begun: true }, rule, idOf))
      const accepted = (text: string) => {
        const matcher = grammar.matcher()
        try {
          for (const id of encode(text)) matcher.commit(id)
          return matcher.isAccepting()
        } catch {
          return false
        } finally {
          matcher.free()
        }
      }
      expect(accepted(`so ${good}</think>\n\n${good}`)).toBe(true)
      expect(accepted(`so</think>${bad}`)).toBe(false)
      expect(accepted(good)).toBe(false)
      grammar.free()
    }
  })

  test.each<[string, Parameters<typeof ruleOf>[0], readonly string[], readonly string[]]>([
    ['an empty regex', { kind: 'regex', regex: '' }, [''], ['a']],
    ['anchors alone', { kind: 'regex', regex: '^$' }, [''], ['a']],
    ['a regex that may be empty', { kind: 'regex', regex: 'a*' }, ['', 'aa'], ['b']],
    ['an empty group', { kind: 'regex', regex: '()' }, [''], ['a']],
    ['a comment of Lark', { kind: 'regex', regex: '//a' }, ['//a'], ['', 'a']],
    ['a line end', { kind: 'regex', regex: 'a\nb' }, ['a\nb'], ['ab']],
    ['the empty choice', { kind: 'choice', choices: [''] }, [''], ['a']],
    ['a choice that may be empty', { kind: 'choice', choices: ['', 'a'] }, ['', 'a'], ['b']],
    ['an empty enum of text', { kind: 'json_schema', schema: { const: '' } }, ['""'], ['', '"a"']],
    ['a schema of several lines', { kind: 'json_schema', schema: '{\n"const"\n: 1}\n' }, ['1'], ['2']],
    ['an empty object', { kind: 'json_schema', schema: { type: 'object', additionalProperties: false } }, ['{}'], ['']],
  ])('thoughts, and then %s', (_, guide, fitting, others) => {
    const rule = ruleOf(guide) ?? ''
    const grammar = vocabulary.compile('lark', thoughtfulGrammar({ ...thinking, begun: true }, rule, idOf))
    const fits = (text: string) => {
      const matcher = grammar.matcher()
      try {
        for (const id of encode(`so</think>${text}`)) matcher.commit(id)
        return matcher.isAccepting()
      } catch {
        return false
      } finally {
        matcher.free()
      }
    }
    expect(fitting.map(fits)).toEqual(fitting.map(() => true))
    expect(others.map(fits)).toEqual(others.map(() => false))
    grammar.free()
  })

  function textOf(ids: readonly number[]): string {
    const names = [...formats.flatMap(markersOf), ...Object.values(thinking)]
    return new TextDecoder().decode(
      Uint8Array.from(
        ids.flatMap((id) => (id < 256 ? [id] : [...new TextEncoder().encode(names.find((name) => idOf(name) === id))])),
      ),
    )
  }
})

describe('definitions', () => {
  const properties = Object.fromEntries(Array.from({ length: 200 }, (_, at) => [`p${at}`, {}]))
  const $defs = { city: { type: 'string', description: 'x'.repeat(100_000) } }
  const { lfm2 } = toolFormats
  const written = (change: object) =>
    toolGrammar(
      lfm2,
      [{ name: 'f', parameters: { properties: { ...properties, ...change }, $defs } }],
      auto,
      () => undefined,
    )

  test('are copied only into properties that refer to them', () => {
    expect(written({}).length).toBeLessThan(50_000)
    const one = written({ p7: { $ref: '#/$defs/city' } })
    expect(one.split('"$defs"')).toHaveLength(2)
    expect(one.length).toBeLessThan(150_000)
  })

  test('that make a grammar too long are refused before it is written', () => {
    const refers = { items: { $ref: '#/$defs/city' } }
    const change = Object.fromEntries(Object.keys(properties).map((key) => [key, refers]))
    expect(() => written(change)).toThrow(
      expect.objectContaining({ code: 'bad_argument', message: expect.stringMatching(/ 30\d{4} characters.* 262144/) }),
    )
  })
})

test('guides that would end the rule that they are put in are refused', () => {
  for (const guide of [
    { kind: 'json_schema', schema: '{} | "x"' },
    { kind: 'json_schema', schema: '{}\nstart: "x"' },
    { kind: 'json_schema', schema: '' },
    { kind: 'regex', regex: 'a\\' },
    { kind: 'regex', regex: 'a\\\\\\' },
  ] as const)
    expect(() => ruleOf(guide)).toThrow(expect.objectContaining({ code: 'bad_argument' }))
  expect(ruleOf({ kind: 'regex', regex: 'a\\\\' })).toBe('/a\\\\/')
})

test('arguments that are no object are refused with the name of the tool', () => {
  const written = (type: unknown) =>
    toolGrammar(
      toolFormats.hermes,
      [{ name: 'clock', parameters: { type } }],
      { required: true, parallel: false },
      () => undefined,
    )
  for (const type of ['string', ['array', 'null']])
    expect(() => written(type)).toThrow(
      expect.objectContaining({ code: 'bad_argument', message: expect.stringContaining('the tool clock are of type') }),
    )
  expect(written(['object', 'null'])).toBe(written('object'))
})
