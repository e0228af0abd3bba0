/** What one line of a batch may be, and which request it makes. */

import { describe, expect, test } from 'vitest'
import { LineError, parseLine } from '../../cli/batch/lines.ts'
import type { GenerateRequest } from '../../node/index.ts'
import fc from '../helpers/properties.ts'

const bytes = (text: string) => new TextEncoder().encode(text)
const parse = (row: unknown, defaults: Partial<GenerateRequest> = {}) =>
  parseLine(bytes(typeof row === 'string' ? row : JSON.stringify(row)), defaults)

describe('a line', () => {
  test('of a plain prompt: its options win over the flags', () => {
    const { id, form, request } = parse(
      { id: 'a', prompt: 'hi', max_tokens: 5, top_k: 3, stop: 'x', temperature: null },
      { maxTokens: 9, temperature: 0.5, seed: 4 },
    )
    expect({ id, form }).toEqual({ id: 'a', form: 'plain' })
    expect(request).toEqual({ prompt: 'hi', maxTokens: 5, topK: 3, stop: ['x'], temperature: 0.5, seed: 4 })
    expect(parse({ messages: [{ role: 'user', content: 'hi' }] }).request.prompt).toEqual([
      { role: 'user', content: 'hi' },
    ])
  })

  test('of a chat, with everything that clients send and that changes nothing', () => {
    const { id, form, request } = parse({
      custom_id: 'c',
      method: 'POST',
      url: '/v1/chat/completions',
      body: {
        model: 'gpt',
        user: 'me',
        n: 1,
        stream: false,
        response_format: { type: 'text' },
        tools: [],
        max_completion_tokens: 7,
        max_tokens: 9,
        messages: [
          { role: 'developer', content: 'be brief' },
          {
            role: 'user',
            content: [
              { type: 'text', text: 'a' },
              { type: 'text', text: 'b' },
            ],
          },
        ],
      },
    })
    expect({ id, form }).toEqual({ id: 'c', form: 'chat' })
    expect(request).toEqual({
      raw: false,
      maxTokens: 7,
      prompt: [
        { role: 'system', content: 'be brief' },
        { role: 'user', content: 'ab' },
      ],
    })
  })

  test('of a completion is raw, and may be token ids', () => {
    const line = { custom_id: 'd', method: 'POST', url: '/v1/completions', body: { prompt: [1, 2], max_tokens: 1 } }
    expect(parse(line)).toMatchObject({ form: 'completion', request: { prompt: [1, 2], raw: true, maxTokens: 1 } })
  })

  test('has the guide that it asks for, or that of the flags', () => {
    const schema = { type: 'object', properties: { a: { const: null } } }
    const format = { type: 'json_schema', json_schema: { name: 'x', schema } }
    const line = {
      custom_id: 'x',
      method: 'POST',
      url: '/v1/chat/completions',
      body: { messages, response_format: format },
    }
    expect(parse(line).request.guide).toEqual({ kind: 'json_schema', schema })
    const guide = { kind: 'regex', regex: 'a' } as const
    expect(parse({ prompt: 'a', guided_choice: ['b'] }, { guide }).request.guide).toEqual({
      kind: 'choice',
      choices: ['b'],
    })
    expect(parse({ prompt: 'a' }, { guide }).request.guide).toEqual(guide)
  })

  const chat = (body: object) => ({ custom_id: 'x', method: 'POST', url: '/v1/chat/completions', body })
  const messages = [{ role: 'user', content: 'hi' }]
  test.each<[string, unknown, RegExp]>([
    ['garbage', 'garbage', /not JSON/],
    ['a list', [1], /not a JSON object/],
    ['null', null, /not a JSON object/],
    ['nothing', {}, /either prompt or messages/],
    ['both', { prompt: 'a', messages }, /either prompt or messages/],
    ['a misspelt option', { prompt: 'a', max_token: 3 }, /max_token/],
    ['a number for text', { prompt: 'a', id: 5 }, /id/],
    ['no tokens', { prompt: [] }, /prompt/],
    ['negative ids', { prompt: [-1] }, /prompt/],
    ['an unknown role', { messages: [{ role: 'robot', content: 'x' }] }, /role/],
    ['a tool without a function', chat({ messages, tools: [{ type: 'function' }] }), /tools\.0\.function/],
    ['a tool of another kind', chat({ messages, tools: [{ type: 'web_search' }] }), /tools\.0/],
    ['a choice of tools that is not known', chat({ messages, tool_choice: 'any' }), /tool_choice/],
    ['tools of the older form', chat({ messages, functions: [{ name: 'f' }] }), /functions/],
    ['tools in a plain line', { prompt: 'a', tools: [] }, /tools/],
    [
      'a result without its call',
      chat({ messages: [{ role: 'tool', tool_call_id: 'x', content: '1' }] }),
      /messages\[0\]/,
    ],
    [
      'arguments that are no JSON',
      chat({ messages: [{ role: 'assistant', tool_calls: [{ function: { name: 'f', arguments: '{' } }] }] }),
      /messages\[0\]\.tool_calls\[0\]/,
    ],
    ['an unknown format of calls', chat({ messages, foretoken: { tool_format: 'x' } }), /tool_format/],
    ['several answers', chat({ messages, n: 2 }), /n:/],
    ['streaming', chat({ messages, stream: true }), /stream/],
    ['an unknown format', chat({ messages, response_format: { type: 'xml' } }), /response_format\.type/],
    ['two shapes', { prompt: 'a', guided_choice: ['b'], guided_regex: 'c' }, /guided_regex and guided_choice/],
    ['an image', chat({ messages: [{ role: 'user', content: [{ type: 'image_url' }] }] }), /content/],
    ['another address', { ...chat({ messages }), url: '/v1/embeddings' }, /url/],
    ['another method', { ...chat({ messages }), method: 'GET' }, /method/],
    ['no id', { ...chat({ messages }), custom_id: '' }, /custom_id/],
    ['no body', { custom_id: 'x', method: 'POST', url: '/v1/completions' }, /body/],
  ])('with %s reports the error', (_, row, message) => {
    expect(() => parse(row)).toThrow(
      expect.objectContaining({ code: 'bad_argument', message: expect.stringMatching(message) }),
    )
  })

  test('that is not UTF-8 is reported', () => {
    expect(() => parseLine(Uint8Array.of(0x22, 0xff, 0x22), {})).toThrow(/UTF-8/)
  })

  test('keeps its id in its error', () => {
    for (const row of [chat({}), { id: 'x', prompt: 5 }])
      expect(() => parse(row)).toThrow(expect.objectContaining({ id: 'x' }))
  })

  test('with any content is parsed or refused, without touching the prototype', () => {
    const json = fc.json({ maxDepth: 4 })
    const key = fc.constantFrom('prompt', 'messages', 'custom_id', 'url', 'method', 'body', 'id', '__proto__', 'stop')
    const object = fc.dictionary(key, fc.jsonValue()).map((value) => JSON.stringify(value))
    fc.assert(
      fc.property(fc.oneof(json, object, fc.string()), (text) => {
        try {
          const { request } = parse(text)
          expect(request.prompt).toBeDefined()
        } catch (error) {
          expect(error).toBeInstanceOf(LineError)
        }
        expect(Object.keys({})).toEqual([])
      }),
      { numRuns: 500 },
    )
  })
})
