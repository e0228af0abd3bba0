/** Reads written calls: every format reads what it writes, wherever the text is divided. */

import { describe, expect, test } from 'vitest'
import { callReader } from '../../src/tools/calls.ts'
import { type ToolFormat, toolFormats } from '../../src/tools/format.ts'
import { type CallEvent, CallParser } from '../../src/tools/parser.ts'
import { type AnswerContents, type AnswerPart, AnswerReader } from '../../src/tools/reader.ts'
import { type PlainCall, writtenCalls } from '../../src/tools/write.ts'
import fc from '../helpers/properties.ts'

const names = ['get_weather', 'now', 'search-web.v2']
const formats = Object.values(toolFormats)

/** Joins adjacent parts of one kind, since a text may be divided anywhere. */
function joined(parts: readonly AnswerPart[]): AnswerPart[] {
  const all: AnswerPart[] = []
  for (const part of parts) {
    const last = all.at(-1)
    if (last && 'text' in last && 'text' in part && last.type === part.type) {
      if (last.type !== 'arguments' || (part.type === 'arguments' && part.index === last.index)) {
        all[all.length - 1] = { ...last, text: last.text + part.text }
        continue
      }
    }
    all.push(part)
  }
  return all
}

function read(format: ToolFormat, pieces: readonly string[]): AnswerPart[] {
  const parser = new CallParser(format, names)
  const events: CallEvent[] = pieces.flatMap((piece) => parser.push(piece))
  return joined([...events, ...parser.finish()])
}

function calls(parts: readonly AnswerPart[]): { name: string; arguments: unknown }[] {
  return parts.flatMap((part, at) => {
    if (part.type !== 'call') return []
    const next = parts[at + 1]
    return [{ name: part.name, arguments: next?.type === 'arguments' ? JSON.parse(next.text) : undefined }]
  })
}
const content = (parts: readonly AnswerPart[]) =>
  parts.map((part) => (part.type === 'content' ? part.text : '')).join('')

/** Divides a text at the given places. */
function pieces(text: string, places: readonly number[]): string[] {
  const cuts = [...new Set(places.map((place) => place % (text.length + 1)))].sort((a, b) => a - b)
  return [0, ...cuts].map((from, at) => text.slice(from, cuts[at] ?? text.length))
}

const word = fc
  .string({ unit: fc.constantFrom('a', 'b', '_', 'é', '0'), minLength: 1, maxLength: 4 })
  .map((text) => `k${text}`)
const text = fc.string({
  unit: fc.oneof(
    fc.constantFrom('"', '\\', "'", '{', '}', '[', ']', '(', ')', ',', ':', '\n', ' ', '<', '>'),
    fc.string({ unit: 'grapheme', minLength: 1, maxLength: 1 }),
  ),
  maxLength: 12,
})
const json = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    text,
    fc.integer(),
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((number) => (Object.is(number, -0) ? 0 : number)),
    fc.boolean(),
    fc.constant(null),
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(word, tie('value'), { maxKeys: 3 }),
  ),
})).value
const plainCall: fc.Arbitrary<PlainCall> = fc.record({
  name: fc.constantFrom(...names),
  arguments: fc.dictionary(word, json, { maxKeys: 3 }),
}) as fc.Arbitrary<PlainCall>

describe.each(formats)('$name', (format) => {
  const most = format.parallel ? 3 : 1

  test('reads what it writes, with text before it, wherever it is divided', () => {
    fc.assert(
      fc.property(
        fc.array(plainCall, { minLength: 1, maxLength: most }),
        fc.constantFrom('', 'Let me see. ', '\n'),
        fc.array(fc.nat(5000), { maxLength: 12 }),
        (list, before, places) => {
          // A text is written without its marks, or what writes it would have to escape them.
          const plain = JSON.parse(JSON.stringify(list).replaceAll(/<escape>/g, '')) as PlainCall[]
          const said = format.bare && before.trim() !== '' ? `${before}${format.marker}` : before
          const parts = read(format, pieces(said + writtenCalls(format, plain), places))
          expect(calls(parts)).toEqual(plain)
          expect(content(parts)).toBe(before.trim())
        },
      ),
      { numRuns: 300 },
    )
  })

  test('any text gives the same parts wherever it is divided', () => {
    const written = writtenCalls(format, [{ name: 'get_weather', arguments: { city: 'Oslo', n: [1, true] } }])
    const snippets = fc.constantFrom(
      written,
      written.slice(0, -3),
      written.replace('get_weather', 'unknown'),
      format.marker,
      format.marker.slice(0, -1),
      format.end,
      '[',
      ']',
      ',',
      '{"name": "now"',
      '{"name": 1, ',
      '"arguments": "{}"}',
      '}',
      'now(',
      ')',
      'call:now{a:1}',
      '[ARGS]{"a":1}',
      ' ',
      '\n',
      'text',
    )
    fc.assert(
      fc.property(fc.array(snippets, { maxLength: 8 }), fc.array(fc.nat(400), { maxLength: 10 }), (all, places) => {
        const whole = all.join('')
        const once = read(format, [whole])
        expect(read(format, pieces(whole, places))).toEqual(once)
        expect(read(format, [...whole])).toEqual(once)
        // Parts of a call come together and in order.
        let open = -1
        for (const part of once)
          if (part.type === 'call') {
            expect(open).toBe(-1)
            open = part.index
          } else if (part.type === 'arguments' || part.type === 'end') {
            expect(part.index).toBe(open)
            if (part.type === 'end') open = -1
          } else expect(open).toBe(-1)
        expect(open).toBe(-1)
      }),
      { numRuns: 1500 },
    )
  })

  test('a text without marks passes unchanged, and at once but for its last white space', () => {
    const parser = new CallParser(format, names)
    expect(parser.push('Hello <there> [x], 1 < 2 ')).toEqual([{ type: 'content', text: 'Hello <there> [x], 1 < 2' }])
    expect(joined([...parser.push('!'), ...parser.finish()])).toEqual([{ type: 'content', text: ' !' }])
  })
})

describe('calls as models write them', () => {
  test.each<[string, keyof typeof toolFormats, string, object[]]>([
    [
      'keys in another order, with others',
      'hermes',
      '<tool_call>{"id": 3, "arguments": {"a": 1}, "name": "now"}</tool_call>',
      [{ name: 'now', arguments: { a: 1 } }],
    ],
    [
      'parameters',
      'hermes',
      '<tool_call>{"name": "now", "parameters": {"a": 1}}</tool_call>',
      [{ name: 'now', arguments: { a: 1 } }],
    ],
    ['no arguments', 'hermes', '<tool_call>{"name": "now"}</tool_call>', [{ name: 'now', arguments: {} }]],
    [
      'arguments in a string',
      'hermes',
      '<tool_call>{"name": "now", "arguments": "{\\"a\\": 1}"}</tool_call>',
      [{ name: 'now', arguments: { a: 1 } }],
    ],
    [
      'a list in tags',
      'hermes',
      '<tool_call>[{"name": "now", "arguments": {}}, {"name": "now", "arguments": {"b": 2}}]</tool_call>',
      [
        { name: 'now', arguments: {} },
        { name: 'now', arguments: { b: 2 } },
      ],
    ],
    [
      'no list where one is the form',
      'phi4-mini',
      '<|tool_call|>{"name": "now", "arguments": {}}<|/tool_call|>',
      [{ name: 'now', arguments: {} }],
    ],
    ['an empty list', 'smollm2', '<tool_call>[]</tool_call>', []],
    [
      'an id',
      'mistral',
      '[TOOL_CALLS] [{"name": "now", "arguments": {"a": 1}, "id": "abcdefgh1"}]',
      [{ name: 'now', arguments: { a: 1 } }],
    ],
    [
      'an id between',
      'mistral-args',
      '[TOOL_CALLS]now[CALL_ID]abcdefgh1[ARGS]{"a": 1}',
      [{ name: 'now', arguments: { a: 1 } }],
    ],
    ['a tag of Python', 'llama3', '<|python_tag|>{"name": "now", "parameters": {}}', [{ name: 'now', arguments: {} }]],
    [
      'a built-in tool of Llama',
      'llama3',
      '<|python_tag|>now.call(query="x")',
      [{ name: 'now', arguments: { query: 'x' } }],
    ],
    [
      'quotes of Python',
      'lfm2',
      "<|tool_call_start|>[now(a='it\\'s', b=True, c=None, d=[1, 'x'], e={'f': (2,)})]<|tool_call_end|>",
      [{ name: 'now', arguments: { a: "it's", b: true, c: null, d: [1, 'x'], e: { f: [2] } } }],
    ],
    [
      'JSON where Python is the form',
      'lfm2',
      '<|tool_call_start|>[{"name": "now", "arguments": {"a": 1}}]<|tool_call_end|>',
      [{ name: 'now', arguments: { a: 1 } }],
    ],
    [
      'escapes of Gemma',
      'gemma',
      '<start_function_call>call:now{a:<escape>{x}, "y"<escape>,b:{c:[1,true]}}<end_function_call>',
      [{ name: 'now', arguments: { a: '{x}, "y"', b: { c: [1, true] } } }],
    ],
  ])('%s', (_, name, written, expected) => {
    const parts = read(toolFormats[name], [...written])
    expect(calls(parts)).toEqual(expected)
    expect(content(parts)).toBe('')
  })

  test('a tool that is not there is text', () => {
    const written = '<tool_call>\n{"name": "rm", "arguments": {}}\n</tool_call>'
    expect(read(toolFormats.hermes, [...written])).toEqual([{ type: 'content', text: written }])
  })

  test('of an answer that was cut short, no beginning of a call is text', () => {
    const whole = `Hi. ${writtenCalls(toolFormats.hermes, [{ name: 'now', arguments: {} }])}`
    for (let length = 8; length <= whole.length; length++) {
      const parser = new CallParser(toolFormats.hermes, names)
      const parts = [...[...whole.slice(0, length)].flatMap((piece) => parser.push(piece)), ...parser.finish(true)]
      expect(content(parts), whole.slice(0, length)).toBe('Hi.')
    }
  })

  test('arguments come as they are written, not at the end', () => {
    const parser = new CallParser(toolFormats.hermes, names)
    parser.push('<tool_call>{"name": "now", "arguments": {"a"')
    expect(parser.push(': 1')).toEqual([{ type: 'arguments', index: 0, text: ': 1' }])
  })
})

describe('the work of reading a call grows with its length:', () => {
  /** Returns how many characters a reader looked at, for each that it was given. */
  function workOf(format: ToolFormat, text: string): number {
    const reader = callReader(format.call, { name: () => true, arguments() {} })
    let held = ''
    let seen = 0
    for (const unit of text) {
      held += unit
      seen += held.length
      const { taken, state } = reader.push(held)
      held = held.slice(taken)
      if (state !== 'reading') break
    }
    return seen / text.length
  }
  const long = 'x"y\'z '.repeat(5000)

  test.each(Object.values(toolFormats))('$name', (format) => {
    const written = writtenCalls({ ...format, bare: true, list: false, inside: '', marker: '', end: '' }, [
      { name: 'f', arguments: { a: long } },
    ])
    expect(workOf(format, written)).toBeLessThan(4)
  })

  test.each(Object.values(toolFormats))('$name: a name, an id or a text without an end', (format) => {
    for (const begun of [
      'f',
      'call:f',
      'f[CALL_ID]',
      'f(a="',
      'call:f{a:<escape>',
      '<｜tool▁call▁begin｜>function<｜tool▁sep｜>',
    ])
      for (const more of ['a', '<', '"', '\\']) expect(workOf(format, begun + more.repeat(30_000))).toBeLessThan(100)
  })
})

describe('thoughts', () => {
  const thinking = { open: '<think>', close: '</think>', begun: false }
  const readAll = (contents: AnswerContents, all: readonly string[]) => {
    const reader = new AnswerReader(contents)
    return joined([...all.flatMap((piece) => reader.push(piece)), ...reader.finish()])
  }
  const call = writtenCalls(toolFormats.hermes, [{ name: 'now', arguments: {} }])
  const withCalls = { thinking, calls: { format: toolFormats.hermes, names } }
  const end = [
    { type: 'call', index: 0, name: 'now' },
    { type: 'arguments', index: 0, text: '{}' },
    { type: 'end', index: 0 },
  ]

  test.each<[string, AnswerContents, string, object[]]>([
    [
      'thoughts, then text',
      { thinking },
      '<think>\nlet me see\n</think>\n\n4',
      [
        { type: 'reasoning', text: 'let me see' },
        { type: 'content', text: '4' },
      ],
    ],
    [
      'thoughts that the prompt began',
      { thinking: { ...thinking, begun: true } },
      'so\n</think>\n4',
      [
        { type: 'reasoning', text: 'so' },
        { type: 'content', text: '4' },
      ],
    ],
    ['thoughts without end', { thinking }, '<think>so\nmuch ', [{ type: 'reasoning', text: 'so\nmuch' }]],
    ['no thoughts', { thinking }, '<thin ice>', [{ type: 'content', text: '<thin ice>' }]],
    ['empty thoughts', { thinking }, '<think>\n\n</think>\n\nx', [{ type: 'content', text: 'x' }]],
    ['marks later in the text', { thinking }, 'a <think>b</think>', [{ type: 'content', text: 'a <think>b</think>' }]],
    ['a call after thoughts', withCalls, `<think>x</think>\n${call}`, [{ type: 'reasoning', text: 'x' }, ...end]],
    [
      'a call among thoughts is a thought',
      withCalls,
      `<think>${call}</think>ok`,
      [
        { type: 'reasoning', text: call },
        { type: 'content', text: 'ok' },
      ],
    ],
    ['text of a model that does not think', {}, '<think>x</think>', [{ type: 'content', text: '<think>x</think>' }]],
  ])('%s', (_, contents, written, expected) => {
    expect(readAll(contents, [written])).toEqual(expected)
    expect(readAll(contents, [...written])).toEqual(expected)
  })

  test('any text gives the same parts wherever it is divided', () => {
    const snippets = fc.constantFrom('<think>', '</think>', '<think', '</thi', ' ', '\n', 'a', call, '<tool_call>')
    fc.assert(
      fc.property(fc.array(snippets, { maxLength: 8 }), fc.array(fc.nat(300), { maxLength: 8 }), (all, places) => {
        const whole = all.join('')
        const once = readAll(withCalls, [whole])
        expect(readAll(withCalls, pieces(whole, places))).toEqual(once)
        expect(readAll(withCalls, [...whole])).toEqual(once)
      }),
      { numRuns: 2000 },
    )
  })
})
