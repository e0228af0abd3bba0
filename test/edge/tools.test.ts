/** Calls of tools and thoughts over HTTP: an engine says what each test tells it. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createApp } from '../../edge/index.ts'
import type { App } from '../../edge/server.ts'
import type { Engine } from '../../src/index.ts'
import { ask, chatBody, refusal } from '../helpers/ask.ts'
import { type Script, type Scripted, scripted } from '../helpers/scripted.ts'
import { testConfig, tinyEngine } from '../helpers/tiny-server.ts'

let engine: Engine
let made: Scripted
let app: App
let script: Script = () => ''
beforeAll(async () => {
  engine = await tinyEngine()
  made = scripted(engine, (...args) => script(...args))
  app = createApp({ engine: made.service, config: testConfig }) as App
})
afterAll(() => engine?.close())

const says = (text: string) => {
  script = () => text
}
const weather = {
  type: 'function',
  function: {
    name: 'get_weather',
    description: 'Tells the weather.',
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
}
const clock = { type: 'function', function: { name: 'clock' } }
const call = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
const body = (change: object = {}) => chatBody({ tools: [weather, clock], max_tokens: 900, ...change })

interface Delta {
  readonly content?: string
  readonly reasoning_content?: string
  readonly tool_calls?: readonly { index: number; id?: string; function: { name?: string; arguments: string } }[]
}

interface Chunk {
  readonly choices: readonly { readonly delta: Delta; readonly finish_reason: string | null }[]
}

async function choice(request: object) {
  const response = await ask(app, request)
  expect(response.status).toBe(200)
  return (await response.json()).choices[0]
}

async function chunks(request: object): Promise<Chunk[]> {
  const response = await ask(app, { ...request, stream: true })
  expect(response.status).toBe(200)
  const text = await response.text()
  expect(text.endsWith('data: [DONE]\n\n')).toBe(true)
  return text
    .split('\n\n')
    .filter((line) => line.startsWith('data: {'))
    .map((line) => JSON.parse(line.slice(6)))
}

describe('chat', () => {
  test('a call is an answer without content', async () => {
    says(call)
    const { message, finish_reason } = await choice(body())
    expect(finish_reason).toBe('tool_calls')
    expect(message).toEqual({
      role: 'assistant',
      content: null,
      refusal: null,
      tool_calls: [
        {
          id: expect.stringMatching(/^call_\w{16,}$/),
          type: 'function',
          function: { name: 'get_weather', arguments: '{"city": "Oslo"}' },
        },
      ],
    })
  })

  test('text, then two calls, streamed as OpenAI streams them', async () => {
    says(`Let me look.\n${call}\n<tool_call>{"name": "clock", "arguments": {}}</tool_call>`)
    const all = await chunks(body())
    const deltas = all.flatMap(({ choices }) => choices.map(({ delta }) => delta))
    expect(deltas[0]).toEqual({ role: 'assistant', content: '', refusal: null })
    expect(deltas.map(({ content }) => content ?? '').join('')).toBe('Let me look.')
    const calls = deltas.flatMap(({ tool_calls }) => tool_calls ?? [])
    const begun = calls.filter(({ id }) => id)
    expect(begun).toEqual([
      { index: 0, id: expect.any(String), type: 'function', function: { name: 'get_weather', arguments: '' } },
      { index: 1, id: expect.any(String), type: 'function', function: { name: 'clock', arguments: '' } },
    ])
    expect(begun[0]!.id).not.toBe(begun[1]!.id)
    const argumentsOf = (index: number) =>
      calls.filter((one) => one.index === index).map(({ function: { arguments: text } }) => text)
    expect(argumentsOf(0).join('')).toBe('{"city": "Oslo"}')
    expect(argumentsOf(0).length).toBeGreaterThan(5)
    expect(argumentsOf(1).join('')).toBe('{}')
    expect(all.at(-1)!.choices[0]!.finish_reason).toBe('tool_calls')
  })

  test('an answer that calls nothing is as without tools', async () => {
    says('It rains < always.')
    const { message, finish_reason } = await choice(body())
    expect(message).toEqual({ role: 'assistant', content: 'It rains < always.', refusal: null })
    expect(finish_reason).toBe('stop')
  })

  test('a call that is cut short is reported as far as it came', async () => {
    says(call)
    const { message, finish_reason } = await choice(body({ max_tokens: call.indexOf('Oslo') + 2 }))
    expect(finish_reason).toBe('length')
    expect(message.tool_calls[0].function).toEqual({ name: 'get_weather', arguments: '{"city": "Os' })
  })

  test.each([4, 15, call.length - 4])(
    'of a call that is cut at %d signs, nothing is shown as text',
    async (max_tokens) => {
      says(call)
      const { message, finish_reason } = await choice(body({ max_tokens }))
      expect(finish_reason).toBe('length')
      expect(message.content ?? '').toBe('')
    },
  )

  test.each([
    ['a stop string', call, { stop: ['slo'] }, '{"city": "O'],
    ['its end', call.slice(0, call.indexOf('slo')), {}, '{"city": "O'],
    ['a stop string before the arguments', call, { stop: ['"arguments'] }, ''],
  ])('a call that ends in its middle by %s is no reason to call', async (_, text, change, given) => {
    says(text)
    const { message, finish_reason } = await choice(body(change))
    expect(finish_reason).toBe('stop')
    expect(message.tool_calls[0].function).toEqual({ name: 'get_weather', arguments: given })
    const all = await chunks(body(change))
    expect(all.at(-1)!.choices[0]!.finish_reason).toBe('stop')
    const deltas = all.flatMap(({ choices }) => choices.flatMap(({ delta }) => delta.tool_calls ?? []))
    expect(deltas.map((delta) => delta.function.arguments).join('')).toBe(given)
  })

  test('a stop string behind the arguments leaves the call whole, and one before its name shows nothing', async () => {
    says(call)
    expect(await choice(body({ stop: ['</tool_call>'] }))).toMatchObject({
      finish_reason: 'tool_calls',
      message: { content: null, tool_calls: [{ function: { arguments: '{"city": "Oslo"}' } }] },
    })
    const none = await choice(body({ stop: ['get_'] }))
    expect([none.finish_reason, none.message.content ?? '', none.message.tool_calls]).toEqual(['stop', '', undefined])
  })

  test('an answer that must call shows no text, wherever it is cut', async () => {
    says(`\n${call}`)
    for (let max_tokens = 1; max_tokens < 20; max_tokens++)
      expect((await choice(body({ max_tokens, tool_choice: 'required' }))).message.content ?? '').toBe('')
  })

  test('the model is told about its tools, and reads calls and results', async () => {
    says('Rain.')
    const history = [
      { role: 'user', content: 'Weather?' },
      {
        role: 'assistant',
        content: null,
        tool_calls: [
          { id: 'a', ...{ type: 'function' }, function: { name: 'get_weather', arguments: '{"city":"Oslo"}' } },
        ],
      },
      { role: 'tool', tool_call_id: 'a', content: 'rain' },
    ]
    await choice(body({ messages: history }))
    const prompt = made.prompts.at(-1)!
    expect(prompt).toContain('"name": "get_weather", "description": "Tells the weather."')
    expect(prompt).toContain(`<|im_start|>assistant\n${call}<|im_end|>`)
    expect(prompt).toContain('<|im_start|>user\n<tool_response>\nrain\n</tool_response><|im_end|>')
  })
})

describe('tool_choice', () => {
  const guideOf = async (change: object) => {
    says('x')
    await choice(body(change))
    const { guide, tools } = made.requests.at(-1)!
    return { grammar: guide?.kind === 'lark' ? guide.grammar : '', tools: tools?.map(({ name }) => name) }
  }

  test('none: no tools', async () => {
    expect(await guideOf({ tool_choice: 'none' })).toEqual({ grammar: '', tools: undefined })
  })
  test('auto: text or calls', async () => {
    const { grammar, tools } = await guideOf({ tool_choice: 'auto' })
    expect(tools).toEqual(['get_weather', 'clock'])
    expect(grammar).toContain('TEXT? |')
  })
  test('required: calls', async () => {
    const { grammar } = await guideOf({ tool_choice: 'required' })
    expect(grammar).not.toContain('TEXT')
    expect(grammar).toContain('call_1')
  })
  test('by name, and allowed tools: calls of these, among all tools', async () => {
    const named = { type: 'function', function: { name: 'clock' } }
    for (const tool_choice of [named, { type: 'allowed_tools', allowed_tools: { mode: 'required', tools: [named] } }]) {
      const { grammar, tools } = await guideOf({ tool_choice })
      expect(tools).toEqual(['get_weather', 'clock'])
      expect(grammar).toContain('clock')
      expect(grammar).not.toContain('get_weather')
    }
  })
  test('parallel_tool_calls: false allows one, as a generic format does unless it is true', async () => {
    expect((await guideOf({ tool_choice: 'required' })).grammar).not.toMatch(/\)\*/)
    const required = { tool_choice: 'required', foretoken: { tool_format: 'hermes' } }
    expect((await guideOf({ tool_choice: 'required', parallel_tool_calls: true })).grammar).toMatch(/\)\*/)
    expect((await guideOf(required)).grammar).toMatch(/section \("\\n" section\)\*/)
    expect((await guideOf({ ...required, parallel_tool_calls: false })).grammar).not.toMatch(/\)\*/)
  })
})

describe('refusals', () => {
  const call = (change: object) => ({
    id: 'a',
    type: 'function',
    function: { name: 'clock', arguments: '{}', ...change },
  })
  const history = (call: object, result: object = {}) => ({
    messages: [
      { role: 'user', content: 'x' },
      { role: 'assistant', tool_calls: [call] },
      { role: 'tool', tool_call_id: 'a', content: 'x', ...result },
    ],
  })
  test.each([
    [
      '500 tools',
      { tools: Array.from({ length: 500 }, (_, at) => ({ type: 'function', function: { name: `f${at}` } })) },
      'tools',
      /more than 128/,
    ],
    ['two tools of one name', { tools: [clock, weather, clock] }, 'tools[2]', /two tools named clock/],
    ['a tool without a name', { tools: [{ type: 'function', function: {} }] }, 'tools[0].function.name', /./],
    [
      'a name that is no name',
      { tools: [{ type: 'function', function: { name: 'a b' } }] },
      'tools[0].function.name',
      /letters/,
    ],
    [
      'a tool that this server would run',
      { tools: [{ type: 'web_search' }] },
      'tools[0].type',
      /only tools are functions/,
    ],
    [
      'arguments that are no JSON',
      history(call({ arguments: '{"a":' })),
      'messages[1].tool_calls[0].function.arguments',
      /JSON/,
    ],
    [
      'arguments that are no object',
      history(call({ arguments: '[1]' })),
      'messages[1].tool_calls[0].function.arguments',
      /object/,
    ],
    [
      'arguments of a great depth',
      history(call({ arguments: `{"a":${'['.repeat(9000)}${']'.repeat(9000)}}` })),
      'messages[1].tool_calls[0].function.arguments',
      /deep/,
    ],
    [
      'a result without a call',
      {
        messages: [
          { role: 'user', content: 'x' },
          { role: 'tool', tool_call_id: 'a', content: 'x' },
        ],
      },
      'messages[1].tool_call_id',
      /no calls come before it/,
    ],
    ['a result of another call', history(call({}), { tool_call_id: 'b' }), 'messages[2].tool_call_id', /other ids/],
    [
      'two results of one call',
      {
        messages: [...history(call({})).messages, { role: 'tool', tool_call_id: 'a', content: 'y' }],
      },
      'messages[3].tool_call_id',
      /second result of call "a"/,
    ],
    [
      'two calls of one id',
      {
        messages: [
          { role: 'user', content: 'x' },
          { role: 'assistant', tool_calls: [call({}), call({})] },
          { role: 'tool', tool_call_id: 'a', content: 'x' },
        ],
      },
      'messages[1].tool_calls[1].id',
      /two calls have the id "a"/,
    ],
    ['a choice that another API has', { tool_choice: 'any' }, 'tool_choice', /"none" or "auto" or "required"/],
    [
      'a choice that is not there',
      { tool_choice: { type: 'function', function: { name: 'nothing' } } },
      'tool_choice',
      /not among the 2 tools/,
    ],
    [
      'an allowed tool that is not there',
      {
        tool_choice: {
          type: 'allowed_tools',
          allowed_tools: { mode: 'auto', tools: [{ type: 'function', function: { name: 'nothing' } }] },
        },
      },
      'tool_choice',
      /not among/,
    ],
    ['a choice without tools', { tools: [], tool_choice: 'required' }, 'tool_choice', /no tools/],
    ['a format that is not there', { foretoken: { tool_format: 'x' } }, 'foretoken.tool_format', /./],
  ])('%s', async (_, change, param, message) => {
    const refused = await refusal(await ask(app, body(change)))
    expect(refused).toMatchObject({ status: 400, param })
    expect(refused.message).toMatch(message)
  })
})

describe('responses', () => {
  const path = '/v1/responses'
  const tool = { type: 'function', name: 'get_weather', parameters: weather.function.parameters }
  const request = (change: object = {}) => ({
    model: 'tiny',
    input: 'Weather?',
    tools: [tool],
    store: false,
    ...change,
  })
  const events = async (change: object = {}) => {
    const text = await (await ask(app, { ...request(change), stream: true }, { path })).text()
    return text
      .split('\n\n')
      .filter((lines) => lines.startsWith('event: '))
      .map((lines) => JSON.parse(lines.slice(lines.indexOf('data: ') + 6)))
  }
  const item = {
    id: expect.stringMatching(/^fc_/),
    type: 'function_call',
    status: 'completed',
    call_id: expect.stringMatching(/^call_/),
    name: 'get_weather',
    arguments: '{"city": "Oslo"}',
  }

  test('a call is an item', async () => {
    says(call)
    const response = await (await ask(app, request(), { path })).json()
    expect(response).toMatchObject({ status: 'completed', parallel_tool_calls: true, tools: [{ name: 'get_weather' }] })
    expect(response.output).toEqual([item])
  })

  test('text and a call, streamed, give the events of OpenAI', async () => {
    says(`Let me look.\n${call}`)
    const all = await events()
    const types = all.map(({ type }) => type).filter((type, at, list) => type !== list[at - 1])
    expect(types).toEqual([
      'response.created',
      'response.in_progress',
      'response.output_item.added',
      'response.content_part.added',
      'response.output_text.delta',
      'response.output_text.done',
      'response.content_part.done',
      'response.output_item.done',
      'response.output_item.added',
      'response.function_call_arguments.delta',
      'response.function_call_arguments.done',
      'response.output_item.done',
      'response.completed',
    ])
    expect(all.map(({ sequence_number }) => sequence_number)).toEqual(all.map((_, at) => at))
    const opened = all.filter(({ type }) => type === 'response.output_item.added')
    expect(opened[1]).toMatchObject({ output_index: 1, item: { ...item, status: 'in_progress', arguments: '' } })
    const deltas = all.filter(({ type }) => type === 'response.function_call_arguments.delta')
    expect(deltas.map(({ delta }) => delta).join('')).toBe('{"city": "Oslo"}')
    const last = all.at(-1).response
    expect(last.output).toMatchObject([{ type: 'message', content: [{ text: 'Let me look.' }] }, item])
    expect(last.output[1].id).toBe(opened[1].item.id)
  })

  test('an answer with nothing in it is an empty message', async () => {
    says('')
    const all = await events()
    expect(all.at(-1).response.output).toMatchObject([{ type: 'message', content: [{ text: '' }] }])
    expect(all.filter(({ type }) => type === 'response.output_item.added')).toHaveLength(1)
  })

  test('a history of thoughts, calls and results', async () => {
    says('Rain.')
    const input = [
      { role: 'user', content: 'Weather?' },
      { type: 'reasoning', id: 'rs_1', summary: [], content: [{ type: 'reasoning_text', text: 'hm' }] },
      { type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'Let me look.' }] },
      { type: 'function_call', call_id: 'a', name: 'get_weather', arguments: '{"city":"Oslo"}' },
      { type: 'function_call', call_id: 'b', name: 'get_weather', arguments: '{"city":"Rome"}' },
      { type: 'function_call_output', call_id: 'a', output: 'rain' },
      { type: 'function_call_output', call_id: 'b', output: [{ type: 'output_text', text: 'sun' }] },
    ]
    await ask(app, request({ input }), { path })
    const prompt = made.prompts.at(-1)!
    expect(prompt).toContain(`<|im_start|>assistant\nLet me look.\n${call}\n${call.replace('Oslo', 'Rome')}<|im_end|>`)
    expect(prompt).toContain(
      '<tool_response>\nrain\n</tool_response>\n<tool_response>\nsun\n</tool_response><|im_end|>',
    )
  })

  test.each([
    [
      'a result without a call',
      { input: [{ type: 'function_call_output', call_id: 'a', output: 'x' }] },
      'input[0].call_id',
    ],
    [
      'arguments that are no JSON',
      { input: [{ type: 'function_call', call_id: 'a', name: 'f', arguments: '{' }] },
      'input[0].arguments',
    ],
    ['two tools of one name', { tools: [tool, tool] }, 'tools[1]'],
    ['a choice that is not there', { tool_choice: { type: 'function', name: 'g' } }, 'tool_choice'],
    ['500 tools', { tools: Array.from({ length: 500 }, (_, at) => ({ ...tool, name: `f${at}` })) }, 'tools'],
  ])('%s is refused', async (_, change, param) => {
    expect(await refusal(await ask(app, request(change), { path }))).toMatchObject({ status: 400, param })
  })
})
