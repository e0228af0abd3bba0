/** Calls of tools and thoughts in Anthropic's and Ollama's APIs, with their clients: an engine says what each test tells it. */
import Anthropic from '@anthropic-ai/sdk'
import { betaTool } from '@anthropic-ai/sdk/helpers/beta/json-schema'
import { Ollama } from 'ollama'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { messagesEvent, messagesResponse } from '../../edge/anthropic/answer-schemas.ts'
import { createApp } from '../../edge/index.ts'
import { chatLine, chatResponse, textResponse } from '../../edge/ollama/schemas.ts'
import type { App } from '../../edge/server.ts'
import { loadWasm } from '../../node/index.ts'
import { Engine } from '../../src/index.ts'
import { ask } from '../helpers/ask.ts'
import { type Script, type Scripted, scripted } from '../helpers/scripted.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { testConfig, testKeys } from '../helpers/tiny-server.ts'

// Writes calls as Hermes does, and knows thoughts, which it leaves to the model.
const template =
  '{% if tools %}<tools>{% for tool in tools %}{{ tool | tojson }}{% endfor %}</tools>{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n' +
  "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content or '' }}" +
  "{% for call in m.tool_calls or [] %}<tool_call>\n{{ {'name': call.function.name, 'arguments': call.function.arguments} | tojson }}\n</tool_call>{% endfor %}<|im_end|>\n{% endfor %}" +
  '{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}'

let engine: Engine
let made: Scripted
let app: App
let script: Script = () => ''
beforeAll(async () => {
  const files = tinyFiles({ context: 2048, metadata: { 'tokenizer.chat_template': { text: template } } })
  engine = await Engine.load(files, { wasm: await loadWasm('simd128', 1), threads: 1 })
  made = scripted(engine, (...args) => script(...args))
  app = createApp({ engine: made.service, config: testConfig }) as App
})
afterAll(() => engine?.close())

const says = (text: string) => {
  script = () => text
}
const fetchApp = async (input: string | URL | Request, init?: RequestInit) => app.fetch(new Request(input, init))
const anthropic = new Anthropic({
  baseURL: 'http://app.test',
  apiKey: testKeys.one,
  maxRetries: 0,
  fetch: fetchApp,
})
const ollama = new Ollama({
  host: 'http://app.test',
  headers: { authorization: `Bearer ${testKeys.one}` },
  fetch: fetchApp,
})

const parameters = { type: 'object' as const, properties: { city: { type: 'string' } }, required: ['city'] }
const call = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
const clockCall = '<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>'
/** What the model was told last. */
const told = () => made.prompts.at(-1)!

describe('@anthropic-ai/sdk', () => {
  const tools = [
    { name: 'get_weather', description: 'Tells the weather.', input_schema: parameters },
    { name: 'clock', input_schema: { type: 'object' as const } },
  ]
  const messages = [{ role: 'user' as const, content: 'Weather?' }]
  const body = { model: 'tiny', max_tokens: 900, messages, tools }
  const oslo = {
    type: 'tool_use',
    name: 'get_weather',
    input: { city: 'Oslo' },
    id: expect.stringMatching(/^call_\w+/),
  }

  test('a call, whole and streamed, and a second turn with its result', async () => {
    says(`Let me look.\n${call}`)
    const first = await anthropic.messages.create(body)
    expect(messagesResponse.parse(first)).toEqual({ ...first })
    expect(first).toMatchObject({ stop_reason: 'tool_use', content: [{ type: 'text', text: 'Let me look.' }, oslo] })
    expect(told()).toContain('Tells the weather.')
    const streamed = await anthropic.messages.stream(body).finalMessage()
    expect(streamed).toMatchObject({ stop_reason: 'tool_use', content: [{ text: 'Let me look.' }, oslo] })

    says('It rains.')
    const used = first.content.find((block) => block.type === 'tool_use')!
    const second = await anthropic.messages.create({
      ...body,
      messages: [
        ...messages,
        { role: 'assistant', content: first.content },
        {
          role: 'user',
          content: [
            { type: 'tool_result', tool_use_id: used.id, content: [{ type: 'text', text: 'Rain' }], is_error: false },
            { type: 'text', text: 'And?' },
          ],
        },
      ],
    })
    expect(second).toMatchObject({ stop_reason: 'end_turn', content: [{ type: 'text', text: 'It rains.' }] })
    expect(told()).toMatch(
      /Let me look\.<tool_call>\n.*"Oslo".*\n<\/tool_call><\|im_end\|>\n<\|im_start\|>tool\nRain<\|im_end\|>\n<\|im_start\|>user\nAnd\?/,
    )
  })

  test('two calls are streamed one after the other, their input in pieces', async () => {
    says(`${call}\n${clockCall}`)
    const events: Anthropic.RawMessageStreamEvent[] = []
    for await (const event of await anthropic.messages.create({ ...body, stream: true })) {
      expect(messagesEvent.parse(event)).toEqual(event)
      events.push(event)
    }
    const starts = events.filter((event) => event.type === 'content_block_start')
    expect(starts.map(({ index, content_block }) => [index, content_block])).toMatchObject([
      [0, { type: 'tool_use', name: 'get_weather', input: {} }],
      [1, { type: 'tool_use', name: 'clock', input: {} }],
    ])
    const inputOf = (at: number) =>
      events.flatMap((event) =>
        event.type === 'content_block_delta' && event.index === at && event.delta.type === 'input_json_delta'
          ? [event.delta.partial_json]
          : [],
      )
    expect(inputOf(0).join('')).toBe('{"city": "Oslo"}')
    expect(inputOf(0).length).toBeGreaterThan(5)
    expect(inputOf(1).join('')).toBe('{}')
    expect(events.filter(({ type }) => type === 'content_block_stop')).toHaveLength(2)
    expect(events.at(-2)).toMatchObject({ type: 'message_delta', delta: { stop_reason: 'tool_use' } })
  })

  test.each<[string, Anthropic.ToolChoice | undefined, boolean, RegExp | undefined]>([
    ['leaves the call to the model', { type: 'auto' }, true, /get_weather/],
    ['requires a call', { type: 'any' }, true, /get_weather/],
    ['requires one of a tool', { type: 'tool', name: 'clock' }, true, /clock/],
    ['forbids calls', { type: 'none' }, false, undefined],
  ])('a choice %s', async (_, tool_choice, calls, grammar) => {
    says(calls ? clockCall : 'No.')
    const { stop_reason } = await anthropic.messages.create({ ...body, ...(tool_choice && { tool_choice }) })
    expect(stop_reason).toBe(calls ? 'tool_use' : 'end_turn')
    const { guide } = made.requests.at(-1)!
    if (!grammar) expect(guide).toBeUndefined()
    else expect(JSON.stringify(guide)).toMatch(grammar)
    if (tool_choice?.type === 'tool') expect(JSON.stringify(guide)).not.toContain('get_weather')
  })

  test('its tool runner answers in two steps', async () => {
    const asked: unknown[] = []
    const weather = betaTool({
      name: 'get_weather',
      description: 'Tells the weather.',
      inputSchema: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
      run: (input) => {
        asked.push(input)
        return 'Rain'
      },
    })
    script = (_, prompt) => (prompt.includes('<|im_start|>tool\nRain') ? 'It rains.' : call)
    const run = { model: 'tiny', max_tokens: 900, messages, tools: [weather] }
    const last = await anthropic.beta.messages.toolRunner(run)
    expect(last.content).toMatchObject([{ type: 'text', text: 'It rains.' }])
    expect(asked).toEqual([{ city: 'Oslo' }])
  })

  test('a cut call is reported with max_tokens, and is not handed out', async () => {
    says(call)
    const { stop_reason, content } = await anthropic.messages.create({ ...body, max_tokens: call.indexOf('Oslo') + 2 })
    expect(stop_reason).toBe('max_tokens')
    expect(content).toEqual([])
  })

  test.each([
    ['a stop string', call, { stop_sequences: ['slo'] }, { stop_reason: 'stop_sequence', stop_sequence: 'slo' }],
    ['its end', call.slice(0, call.indexOf('slo')), {}, { stop_reason: 'end_turn', stop_sequence: null }],
  ])('a call that ends in its middle by %s is not handed out', async (_, text, change, ending) => {
    says(`Look.\n${text}`)
    expect(await anthropic.messages.create({ ...body, ...change })).toMatchObject({
      ...ending,
      content: [{ type: 'text', text: 'Look.' }],
    })
    const events: Anthropic.RawMessageStreamEvent[] = []
    for await (const event of await anthropic.messages.create({ ...body, ...change, stream: true })) events.push(event)
    expect(events.at(-2)).toMatchObject({ type: 'message_delta', delta: ending })
  })

  test('counting tokens prepares no guide', async () => {
    const counted: object[] = []
    const service = new Proxy(made.service, {
      get(target, name) {
        const value = Reflect.get(target, name, target)
        if (typeof value !== 'function') return value
        return (...args: object[]) => {
          counted.push(...args)
          return value.apply(target, args)
        }
      },
    })
    const other = createApp({ engine: service, config: testConfig }) as App
    const asked = { model: 'tiny', messages, tools }
    const response = await ask(other, asked, { path: '/v1/messages/count_tokens' })
    expect((await response.json()).input_tokens).toBeGreaterThan(0)
    const withTools = counted.filter((one) => typeof one === 'object' && one !== null && 'tools' in one)
    expect(withTools.length).toBeGreaterThan(0)
    for (const one of withTools) expect(one).not.toHaveProperty('guide')
  })

  test('thoughts are blocks if they are asked for, and come back to the template', async () => {
    says('<think>Rain is likely.</think>\n\nIt rains.')
    const thinking = { type: 'enabled' as const, budget_tokens: 1024 }
    const ask = { model: 'tiny', max_tokens: 900, messages, thinking }
    const whole = await anthropic.messages.create(ask)
    expect(whole.content).toMatchObject([
      { type: 'thinking', thinking: expect.stringContaining('Rain is likely.'), signature: '' },
      { type: 'text', text: expect.stringContaining('It rains.') },
    ])
    expect(whole.usage.output_tokens_details!.thinking_tokens).toBeGreaterThan(10)
    expect((await anthropic.messages.stream(ask).finalMessage()).content).toEqual(whole.content)
    says('Yes.')
    const turns = [...messages, { role: 'assistant' as const, content: whole.content }, ...messages]
    expect((await anthropic.messages.create({ ...ask, messages: turns })).content).toMatchObject([{ text: 'Yes.' }])
    expect(told()).toContain('<think>Rain is likely.')
    await anthropic.messages.create({ ...ask, thinking: { type: 'disabled' } })
    expect(told()).toMatch(/<think>\n\n<\/think>\n\n$/)
    const { thinking: _, ...unasked } = ask
    await anthropic.messages.create(unasked)
    expect(told()).toMatch(/<think>\n\n<\/think>\n\n$/)
  })

  const used = { type: 'tool_use', id: 'a', name: 'clock', input: {} }
  test.each<[string, object, RegExp]>([
    ['two tools of one name', { tools: [tools[1], tools[1]] }, /clock/],
    [
      'a tool that the server would run',
      { tools: [{ type: 'web_search_20250305', name: 'web_search' }] },
      /tools\[0\]/,
    ],
    ['a tool without a schema', { tools: [{ name: 'clock' }] }, /tools\[0\]\.input_schema/],
    ['a name that is none', { tools: [{ name: 'a b', input_schema: {} }] }, /tools\[0\]\.name/],
    ['a choice of a tool that is not there', { tool_choice: { type: 'tool', name: 'other' } }, /other/],
    ['a choice without tools', { tools: [], tool_choice: { type: 'any' } }, /no tools/],
    ['500 tools', { tools: Array.from({ length: 500 }, (_, n) => ({ ...tools[1], name: `t${n}` })) }, /tools/],
    [
      'a result without its call',
      { messages: [{ role: 'user', content: [{ type: 'tool_result', tool_use_id: 'x', content: 'y' }] }] },
      /messages\[0\]\.content\[0\]\.tool_use_id.*"x"/,
    ],
    [
      'a result of another call',
      {
        messages: [
          ...messages,
          { role: 'assistant', content: [used] },
          { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'b' }] },
        ],
      },
      /messages\[2\]\.content\[0\]\.tool_use_id.*"b"/,
    ],
    ['a call of a user', { messages: [{ role: 'user', content: [used] }] }, /"tool_use"/],
    [
      'an image as a result',
      {
        messages: [
          { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'a', content: [{ type: 'image' }] }] },
        ],
      },
      /"image"/,
    ],
  ])('%s is refused', async (_, change, message) => {
    const response = await ask(app, { ...body, ...change }, { path: '/v1/messages' })
    const { error } = await response.json()
    expect([response.status, error.type]).toEqual([400, 'invalid_request_error'])
    expect(error.message).toMatch(message)
  })

  test('tools count towards the tokens of a prompt', async () => {
    const { input_tokens } = await anthropic.messages.countTokens({ model: 'tiny', messages, tools })
    says('No.')
    const { usage } = await anthropic.messages.create(body)
    expect(usage.input_tokens + usage.cache_read_input_tokens!).toBe(input_tokens)
  })
})

describe('ollama', () => {
  const tools = [
    { type: 'function', function: { name: 'get_weather', description: 'Tells the weather.', parameters } },
    { type: 'function', function: { name: 'clock' } },
  ]
  const messages = [{ role: 'user', content: 'Weather?' }]
  const body = { model: 'tiny', messages, tools, options: { num_predict: 900 } }
  const oslo = { function: { index: 0, name: 'get_weather', arguments: { city: 'Oslo' } } }

  test('a call, whole and in lines, and a second turn with its result', async () => {
    says(`Let me look.\n${call}`)
    const first = await ollama.chat(body)
    expect(chatResponse.parse(first)).toEqual(first)
    expect(first.message).toMatchObject({ content: 'Let me look.', tool_calls: [oslo] })
    const said: unknown[] = []
    let text = ''
    for await (const line of await ollama.chat({ ...body, stream: true })) {
      if (!line.done) expect(chatLine.parse(line)).toEqual(line)
      text += line.message.content
      said.push(...(line.message.tool_calls ?? []))
    }
    expect([text, said]).toMatchObject(['Let me look.', [oslo]])

    says('It rains.')
    const result = { role: 'tool', content: 'Rain', tool_name: 'get_weather' }
    const second = await ollama.chat({ ...body, messages: [...messages, first.message, result] })
    expect(second.message.content).toBe('It rains.')
    expect(told()).toMatch(/"Oslo".*\n<\/tool_call><\|im_end\|>\n<\|im_start\|>tool\nRain<\|im_end\|>/)
  })

  test.each([
    ['a stop string', call, { stop: ['slo'] }],
    ['its end', call.slice(0, call.indexOf('slo')), {}],
    ['its limit', call, { num_predict: call.indexOf('Oslo') + 1 }],
  ])('a call that ends in its middle by %s is not handed out', async (_, text, change) => {
    says(text)
    const asked = { ...body, options: { ...body.options, ...change } }
    expect((await ollama.chat(asked)).message).toEqual({ role: 'assistant', content: '' })
    for await (const line of await ollama.chat({ ...asked, stream: true }))
      expect(line.message).toEqual({ role: 'assistant', content: '' })
  })

  test('calls need no ids: results are matched by name, in order', async () => {
    says('Yes.')
    const called = (name: string) => ({ function: { name, arguments: {} } })
    const result = (tool_name: string) => ({ role: 'tool', content: tool_name, tool_name })
    const turns = (calls: string[], results: string[]) => [
      ...messages,
      { role: 'assistant', content: '', tool_calls: calls.map(called) },
      ...results.map(result),
    ]
    const many = turns(['clock', 'clock', 'get_weather'], ['get_weather', 'clock', 'clock'])
    expect((await ollama.chat({ ...body, messages: many })).message.content).toBe('Yes.')
    await expect(ollama.chat({ ...body, messages: turns(['clock'], ['get_weather']) })).rejects.toThrow('tool_name')
    const anonymous = [...turns(['clock'], []), { role: 'tool', content: 'noon' }]
    expect((await ollama.chat({ ...body, messages: anonymous })).message.content).toBe('Yes.')
  })

  test('thoughts are apart from the answer, in chats and texts', async () => {
    says('<think>Rain is likely.</think>\n\nIt rains.')
    const ask = { model: 'tiny', messages, think: true, options: { num_predict: 900 } }
    const whole = await ollama.chat(ask)
    expect(whole.message.thinking).toContain('Rain is likely.')
    expect(whole.message.content.trim()).toBe('It rains.')
    let [thought, text] = ['', '']
    for await (const { message } of await ollama.chat({ ...ask, stream: true })) {
      thought += message.thinking ?? ''
      text += message.content
    }
    expect([thought, text]).toEqual([whole.message.thinking, whole.message.content])
    const answer = await ollama.generate({
      model: 'tiny',
      prompt: 'Weather?',
      think: true,
      options: { num_predict: 900 },
    })
    expect(textResponse.parse(answer)).toEqual(answer)
    expect(answer).toMatchObject({ thinking: whole.message.thinking, response: whole.message.content })
    says('No.')
    expect((await ollama.chat({ ...ask, think: false })).message.content).toBe('No.')
    expect(told()).toMatch(/<think>\n\n<\/think>\n\n$/)
  })
})
