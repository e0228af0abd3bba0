/** Anthropic's API: what a request means, what an answer says, and failures, as the contract has them. */
import Anthropic from '@anthropic-ai/sdk'
import { zodOutputFormat } from '@anthropic-ai/sdk/helpers/zod'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import {
  errorResponse,
  type MessagesEvent,
  type MessagesResponse,
  messagesEvent,
  messagesResponse,
  modelInfoList,
} from '../../edge/anthropic/answer-schemas.ts'
import { createApp, type ServerConfig } from '../../edge/index.ts'
import type { App } from '../../edge/server.ts'
import { loadGuides } from '../../node/guides.ts'
import { loadWasm } from '../../node/index.ts'
import { Engine } from '../../src/index.ts'
import { type Ask, ask } from '../helpers/ask.ts'
import { failingAfter } from '../helpers/failing-engine.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { testConfig, testKeys } from '../helpers/tiny-server.ts'

// Shows who said what, what was reasoned and whether to reason, by default; refuses two turns of one role.
const template =
  "{% for m in messages %}{% if not loop.first and m.role == messages[loop.index0 - 1].role %}{{ raise_exception('twice') }}{% endif %}" +
  '<{{ m.role }}>{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}{{ m.content }}</>{% endfor %}' +
  '{% if enable_thinking is not defined or enable_thinking %}[think]{% endif %}{% if add_generation_prompt %}<assistant>{% endif %}'

let engine: Engine
let app: App
const appWith = (config: ServerConfig = {}) => createApp({ engine, config: { ...testConfig, ...config } })
beforeAll(async () => {
  const files = tinyFiles({ context: 1024, metadata: { 'tokenizer.chat_template': { text: template } } })
  engine = await Engine.load(files, { wasm: await loadWasm('simd128', 1), threads: 1, guides: loadGuides })
  app = appWith()
})
afterAll(() => engine.close())

const path = '/v1/messages'
const hello = [{ role: 'user', content: 'hello' }]
const body = (change: object = {}) => ({ model: 'tiny', messages: hello, max_tokens: 4, temperature: 0, ...change })
const send = (change: object = {}, options: Ask = {}) => ask(app, body(change), { path, ...options })
const answered = async (change: object = {}) => {
  const response = await send(change)
  const text = await response.text()
  expect(response.status, text).toBe(200)
  return messagesResponse.parse(JSON.parse(text))
}

/** The tokens of a rendered prompt; the tiny model has one for each byte. */
const rendered = async (change: object) => {
  const { max_tokens, temperature, ...counted } = body(change)
  const response = await ask(app, counted, { path: `${path}/count_tokens` })
  const text = await response.text()
  expect(response.status, text).toBe(200)
  return JSON.parse(text).input_tokens
}
const bytes = (text: string) => engine.promptIds(text, { raw: true }).length

describe('a prompt', () => {
  const user = { role: 'user', content: 'hello' }
  test.each<[string, object, string]>([
    ['a text', {}, '<user>hello</><assistant>'],
    ['blocks', { messages: [{ role: 'user', content: [block('a'), block('b')] }] }, '<user>a\nb</><assistant>'],
    ['a system text', { system: 'Be brief.' }, '<system>Be brief.</><user>hello</><assistant>'],
    [
      'system blocks',
      { system: [{ ...block('Be'), cache_control: { type: 'ephemeral', ttl: '1h' } }, block('brief.')] },
      '<system>Be\nbrief.</><user>hello</><assistant>',
    ],
    ['nothing as the system text', { system: '' }, '<user>hello</><assistant>'],
    ['no blocks', { system: [] }, '<user>hello</><assistant>'],
    ['turns of one role', { messages: [user, user] }, '<user>hello\nhello</><assistant>'],
    [
      'a system turn in between',
      { messages: [user, { role: 'system', content: 'x' }, user] },
      '<user>hello</><system>x</><user>hello</><assistant>',
    ],
    [
      'an answer to continue',
      { messages: [user, { role: 'assistant', content: 'It is' }] },
      '<user>hello</><assistant>It is',
    ],
    [
      'earlier reasoning, signed and hidden',
      {
        messages: [
          user,
          {
            role: 'assistant',
            content: [
              { type: 'thinking', thinking: 'why', signature: 'abc' },
              { type: 'redacted_thinking', data: 'xyz' },
              { ...block('so'), citations: null },
            ],
          },
          user,
        ],
      },
      '<user>hello</><assistant>(why)so</><user>hello</><assistant>',
    ],
    ['reasoning', { thinking: { type: 'enabled', budget_tokens: 2048 } }, '<user>hello</>[think]<assistant>'],
    ['adaptive reasoning', { thinking: { type: 'adaptive' } }, '<user>hello</>[think]<assistant>'],
    ['no reasoning', { thinking: { type: 'disabled' } }, '<user>hello</><assistant>'],
  ])('of %s', async (_, change, text) => {
    expect(await rendered(change)).toBe(bytes(text))
    // The same tokens are read for an answer.
    const { usage } = await answered(change)
    expect(usage.input_tokens + usage.cache_read_input_tokens).toBe(bytes(text))
  })

  test('and special tokens in any part of it are plain text', async () => {
    const special = '<|im_end|>'
    const plain = await rendered({ system: 'x', messages: hello })
    expect(await rendered({ system: [block(`x${special}`)], messages: hello })).toBe(plain + special.length)
  })
})

function block(text: string) {
  return { type: 'text', text }
}

describe('an answer', () => {
  test('counts cached tokens apart', async () => {
    const messages = [{ role: 'user', content: 'a prompt that is longer than two pages of tokens are' }]
    const first = await answered({ messages, system: 'once' })
    const again = await answered({ messages, system: 'once' })
    expect(again.usage.cache_read_input_tokens).toBeGreaterThanOrEqual(32)
    expect(again.usage.input_tokens + again.usage.cache_read_input_tokens).toBe(
      first.usage.input_tokens + first.usage.cache_read_input_tokens,
    )
    expect(again.usage).toMatchObject({ output_tokens: 4, cache_creation_input_tokens: 0 })
  })

  // A bias makes the model answer in letters.
  const letters = { logit_bias: Object.fromEntries([...'abc'].map((one) => [one.charCodeAt(0), 100])), seed: 7 }
  const drawn = { ...letters, temperature: 1, max_tokens: 24 }

  test.each([false, true])('names the stop string that ended it (streamed: %s)', async (stream) => {
    const text = textIn(await answered(drawn))
    const stop_sequences = ['never', text.slice(6, 9)]
    const response = await send({ ...drawn, stop_sequences, stream })
    const ending = stream
      ? (await eventsOf(response)).find(({ type }) => type === 'message_delta')
      : await response.json()
    expect(ending.delta ?? ending).toMatchObject({ stop_reason: 'stop_sequence', stop_sequence: text.slice(6, 9) })
  })

  test('says why it ended', async () => {
    expect(await answered()).toMatchObject({ stop_reason: 'max_tokens', stop_sequence: null })
    expect(await answered({ ...drawn, stop_token_ids: [97, 98, 99] })).toMatchObject({ stop_reason: 'end_turn' })
    expect(await answered({ max_tokens: 100_000, ignore_eos: true })).toMatchObject({
      stop_reason: 'model_context_window_exceeded',
    })
  })

  test('of no tokens has no content, and has read the prompt', async () => {
    expect(await answered({ max_tokens: 0 })).toMatchObject({ content: [], usage: { output_tokens: 0 } })
    const events = await eventsOf(await send({ max_tokens: 0, stream: true }))
    expect(events.map(({ type }) => type)).toEqual(['message_start', 'message_delta', 'message_stop'])
  })

  test('streams the same text, in the events of the contract', async () => {
    const whole = await answered(drawn)
    const response = await send({ ...drawn, stream: true })
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8')
    const events = await eventsOf(response)
    const types = events.map(({ type }) => type)
    expect(types.slice(0, 3)).toEqual(['message_start', 'content_block_start', 'content_block_delta'])
    expect(types.slice(-3)).toEqual(['content_block_stop', 'message_delta', 'message_stop'])
    const text = events.map(deltaText).join('')
    expect(whole.content).toMatchObject([{ text }])
  })

  test('pings while the prompt is read, and after that begins', async () => {
    const slow = appWith({ keepAliveSeconds: 0.001 })
    const messages = [{ role: 'user', content: 'word '.repeat(190) }]
    const text = await (await ask(slow, body({ messages, stream: true }), { path })).text()
    expect(text).toMatch(/^event: ping\ndata: {"type":"ping"}\n\n/)
    expect(text).toContain('event: message_stop')
    expect(text).not.toMatch(/^:/m)
  })

  test('reports progress within pings, where asked', async () => {
    const messages = [{ role: 'user', content: 'other '.repeat(120) }]
    const response = await send({ messages, stream: true, foretoken: { progress: true } })
    expect(await response.text()).toMatch(/event: ping\ndata: {"type":"ping","foretoken":{"progress":{"done":\d+/)
  })
})

function textIn({ content }: MessagesResponse): string {
  return content.map((one) => (one.type === 'text' ? one.text : '')).join('')
}

function deltaText(event: MessagesEvent): string {
  return event.type === 'content_block_delta' && event.delta.type === 'text_delta' ? event.delta.text : ''
}

/** Returns the events of a stream, each as its schema reads it: it has all fields and no others. */
async function eventsOf(response: Response): Promise<MessagesEvent[]> {
  const frames = (await response.text()).trimEnd().split('\n\n')
  return frames.map((frame) => {
    const [, name, data] = /^event: (\w+)\ndata: (.*)$/.exec(frame)!
    const event = JSON.parse(data!)
    expect(event.type).toBe(name)
    expect(messagesEvent.parse(event)).toEqual(event)
    return event
  })
}

describe('a failure', () => {
  const failed = async (response: Response) => {
    const failure = await response.json()
    expect(errorResponse.parse(failure)).toEqual(failure)
    expect(response.headers.get('request-id')).toBe(failure.request_id)
    expect(response.headers.get('x-request-id')).toBe(failure.request_id)
    return [response.status, failure.error.type, failure.error.message]
  }

  test.each<[string, object, RegExp]>([
    ['an image', { messages: [{ role: 'user', content: [{ type: 'image', source: {} }] }] }, /content\[0\].*"image"/],
    ['a document', { messages: [{ role: 'user', content: [block('a'), { type: 'document' }] }] }, /\[1\].*"document"/],
    ['a block without a type', { messages: [{ role: 'user', content: [{ text: 'x' }] }] }, /the type is missing/],
    ['reasoning of a user', { messages: [{ role: 'user', content: [{ type: 'thinking' }] }] }, /"thinking"/],
    ['a message of nobody', { messages: [{ content: 'x' }] }, /messages\[0\]\.role/],
    ['no messages', { messages: [] }, /messages/],
    ['no limit', { max_tokens: undefined }, /max_tokens/],
    ['a limit below 0', { max_tokens: -1 }, /max_tokens/],
    ['a system message of images', { system: [{ type: 'image' }] }, /system\[0\]/],
    ['another format', { output_config: { format: { type: 'xml' } } }, /output_config\.format\.type.*json_schema/],
    ['a schema from elsewhere', formatOf({ $ref: 'https://example.org/schema.json' }), /example\.org/],
    ['two shapes', { ...formatOf({ type: 'object' }), guided_choice: ['a'] }, /guided_choice/],
    ['a container', { container: 'x' }, /container is not supported/],
    ['other servers to call', { mcp_servers: [{ type: 'url' }] }, /mcp_servers is not supported/],
    ['reasoning between tools', { thinking: { type: 'between_tools' } }, /thinking\.type/],
    ['too long a prompt', { messages: [{ role: 'user', content: 'x'.repeat(2000) }] }, /context/],
    [
      'too many blocks',
      { messages: [{ role: 'user', content: Array(300).fill(block('')) }] },
      /messages\[0\]\.content/,
    ],
  ])('of %s is 400 and names it', async (_, change, message) => {
    const seen = await failed(await send(change))
    expect(seen).toEqual([400, 'invalid_request_error', expect.stringMatching(message)])
    // It is the same before a stream.
    expect(await failed(await send({ ...change, stream: true }))).toEqual(seen)
  })

  test.each<[string, () => Promise<Response>, number, string]>([
    ['no key', () => send({}, { key: '' }), 401, 'authentication_error'],
    ['an unknown key', () => send({}, { key: '', headers: { 'x-api-key': 'nobody' } }), 401, 'authentication_error'],
    ['an unknown model', () => send({ model: 'claude' }), 404, 'not_found_error'],
    ['another method', () => ask(app, undefined, { path }), 405, 'invalid_request_error'],
    ['an unknown route', () => ask(app, {}, { path: `${path}/batches` }), 404, 'not_found_error'],
    ['no JSON', () => ask(app, undefined, { path, raw: '{' }), 400, 'invalid_request_error'],
    ['a large body', () => ask(app, undefined, { path, raw: ' '.repeat(2 << 20) }), 413, 'invalid_request_error'],
    [
      'too many requests',
      async () => {
        const keys = testConfig.keys!.map((key) => ({ ...key, requestsPerMinute: 1 }))
        const busy = appWith({ keys })
        await (await ask(busy, body(), { path })).text()
        return ask(busy, body(), { path })
      },
      429,
      'rate_limit_error',
    ],
    [
      'a busy server',
      async () => {
        const busy = appWith({ limits: { concurrency: 1, waitSeconds: 0 } })
        const held = await ask(busy, body({ stream: true, max_tokens: 500 }), { path, key: testKeys.two })
        const response = await ask(busy, body(), { path })
        await held.body!.cancel()
        return response
      },
      529,
      'overloaded_error',
    ],
    [
      'a timeout',
      () => ask(appWith({ limits: { requestSeconds: 0.001 } }), body({ max_tokens: 500 }), { path }),
      504,
      'timeout_error',
    ],
  ])('of %s', async (_, make, status, type) => {
    expect(await failed(await make())).toEqual([status, type, expect.any(String)])
  })

  test('in the middle of a stream is an event, which the client throws', async () => {
    const broken = createApp({ engine: failingAfter(2, engine), config: testConfig })
    const response = await ask(broken, body({ max_tokens: 9, stream: true }), { path })
    const last = (await response.text()).trimEnd().split('\n\n').at(-1)!
    expect(last).toMatch(/^event: error\n/)
    const failure = JSON.parse(last.slice(last.indexOf('{')))
    expect(errorResponse.parse(failure)).toEqual(failure)
    expect(failure).toMatchObject({
      error: { type: 'overloaded_error' },
      request_id: response.headers.get('request-id'),
    })
    const client = clientOf(broken)
    const stream = client.messages.stream({
      model: 'tiny',
      messages: [{ role: 'user', content: 'x' }],
      max_tokens: 9,
      temperature: 0,
    })
    await expect(stream.finalMessage()).rejects.toMatchObject({ type: 'overloaded_error' })
  })
})

function clientOf(app: App): Anthropic {
  return new Anthropic({
    baseURL: 'http://app.test',
    apiKey: testKeys.one,
    maxRetries: 0,
    fetch: async (input, init) => app.fetch(new Request(input, init)),
  })
}

describe('headers', () => {
  test('a key may come as x-api-key; a bearer key counts more', async () => {
    const headers = { 'x-api-key': testKeys.one, 'anthropic-version': '2023-06-01', 'anthropic-beta': 'a,b' }
    expect((await send({}, { key: '', headers })).status).toBe(200)
    expect((await send({}, { headers: { 'x-api-key': 'none' } })).status).toBe(200)
    expect((await send({}, { key: 'nobody', headers })).status).toBe(401)
    expect((await ask(app, undefined, { path: '/v1/models', key: '', headers })).status).toBe(200)
  })

  test('a page may ask for those that its client sends', async () => {
    const origin = 'https://good.example'
    const asked =
      'anthropic-beta,anthropic-dangerous-direct-browser-access,anthropic-version,content-type,x-api-key,x-stainless-lang'
    const open = appWith({ origins: [origin] })
    const preflight = await ask(open, undefined, {
      path,
      method: 'OPTIONS',
      key: '',
      headers: { origin, 'access-control-request-method': 'POST', 'access-control-request-headers': asked },
    })
    expect(preflight.status).toBe(204)
    expect(preflight.headers.get('access-control-allow-headers')).toBe(asked)
    const client = clientOf(open).withOptions({ dangerouslyAllowBrowser: true, defaultHeaders: { origin } })
    const { response } = await client.messages
      .create({ model: 'tiny', messages: [{ role: 'user', content: 'x' }], max_tokens: 2 })
      .withResponse()
    expect(response.headers.get('access-control-allow-origin')).toBe(origin)
    expect(response.headers.get('access-control-expose-headers')).toContain('request-id')
  })

  test('models are listed in the shape of the API that the headers name', async () => {
    const headers = { 'anthropic-version': '2023-06-01' }
    const list = await (await ask(app, undefined, { path: '/v1/models', headers })).json()
    expect(modelInfoList.parse(list)).toEqual(list)
    expect(list).toMatchObject({ data: [{ id: 'tiny', max_input_tokens: 1024 }], has_more: false, first_id: 'tiny' })
    expect((await ask(app, undefined, { path: '/v1/models/none', headers })).status).toBe(404)
    expect(await (await ask(app, undefined, { path: '/v1/models' })).json()).toMatchObject({ object: 'list' })
  })
})

function formatOf(schema: object) {
  return { output_config: { format: { type: 'json_schema', schema } } }
}

describe('an answer of a shape', () => {
  const shape = z.object({ ok: z.boolean(), kind: z.enum(['tree', 'stone']) })

  test('is parsed by the client, whole and streamed', async () => {
    const ask = {
      model: 'tiny',
      max_tokens: 300,
      messages: [{ role: 'user' as const, content: 'x' }],
      output_config: { format: zodOutputFormat(shape) },
    }
    const { parsed_output, stop_reason } = await clientOf(app).messages.parse(ask)
    expect(shape.parse(parsed_output)).toEqual(parsed_output)
    expect(stop_reason).toBe('end_turn')
    const streamed = await clientOf(app).messages.stream(ask).finalMessage()
    expect(shape.parse(streamed.parsed_output)).toEqual(streamed.parsed_output)
  })

  test('by other names', async () => {
    for (const change of [{ guided_choice: ['yes', 'no'] }, { structured_outputs: { regex: 'yes|no' } }])
      expect(textIn(await answered({ ...change, max_tokens: 30 }))).toMatch(/^(yes|no)$/)
  })
})

test('a shape by its older name, but not by both names', async () => {
  const format = { type: 'json_schema', schema: { enum: ['yes', 'no'] } }
  expect(textIn(await answered({ output_format: format, max_tokens: 30 }))).toMatch(/^"(yes|no)"$/)
  const both = await ask(
    app,
    { model: 'tiny', max_tokens: 9, messages: hello, output_format: format, output_config: { format } },
    { path },
  )
  expect(both.status).toBe(400)
  expect(await both.text()).toContain('output_config.format and output_format both give a shape')
})

test('a tool that failed without a word says so to the model', async () => {
  const history = (result: object) => [
    { role: 'user', content: 'x' },
    { role: 'assistant', content: [{ type: 'tool_use', id: 'c1', name: 'clock', input: {} }] },
    { role: 'user', content: [{ type: 'tool_result', tool_use_id: 'c1', ...result }] },
  ]
  const tools = [{ name: 'clock', input_schema: { type: 'object' } }]
  const tokens = async (result: object) => {
    const answer = await answered({ tools, messages: history(result), max_tokens: 1, tool_choice: { type: 'none' } })
    return answer.usage.input_tokens + answer.usage.cache_read_input_tokens
  }
  const [failed, empty, said] = [
    await tokens({ is_error: true }),
    await tokens({}),
    await tokens({ content: 'The tool failed.' }),
  ]
  expect(failed).toBe(said)
  expect(failed).toBeGreaterThan(empty)
})

test.each<[string, object[], object[], string]>([
  [
    'two results of one call',
    [{ type: 'tool_use', id: 'c1', name: 'clock', input: {} }],
    [
      { type: 'tool_result', tool_use_id: 'c1', content: 'a' },
      { type: 'tool_result', tool_use_id: 'c1', content: 'b' },
    ],
    'messages[2].content[1].tool_use_id: this is a second result',
  ],
  [
    'two calls of one id',
    [1, 2].map(() => ({ type: 'tool_use', id: 'c1', name: 'clock', input: {} })),
    [{ type: 'tool_result', tool_use_id: 'c1', content: 'a' }],
    'messages[1].content[1].id: two calls',
  ],
])('%s are refused', async (_, calls, results, message) => {
  const messages = [
    { role: 'user', content: 'x' },
    { role: 'assistant', content: calls },
    { role: 'user', content: results },
  ]
  const tools = [{ name: 'clock', input_schema: { type: 'object' } }]
  const response = await ask(app, { model: 'tiny', tools, messages, max_tokens: 1 }, { path: '/v1/messages' })
  expect(response.status).toBe(400)
  expect(await response.text()).toContain(message)
})

test.each([
  ['as the model writes calls, one at a time', undefined, false],
  ['one at a time', true, false],
  ['at once', false, true],
])('tools are called %s', async (_, disabled, several) => {
  const input_schema = { type: 'object', properties: { at: { enum: [1, 2] } }, required: ['at'] }
  const tools = [{ name: 'clock', input_schema }]
  const tool_choice = { type: 'any', ...(disabled !== undefined && { disable_parallel_tool_use: disabled }) }
  const asked = { tools, tool_choice, temperature: 1, max_tokens: 300 }
  const calls: number[] = []
  for (let answer = 0; answer < 24; answer++) {
    const { content } = await answered(asked)
    calls.push(content.filter(({ type }: { type: string }) => type === 'tool_use').length)
  }
  expect(Math.max(...calls) > 1, String(calls)).toBe(several)
})

describe('counting', () => {
  const count = (change: object = {}) =>
    ask(app, { model: 'tiny', messages: hello, ...change }, { path: `${path}/count_tokens` })

  test('takes what a prompt is made of, and answers nothing else', async () => {
    expect(await (await count({ tools: [], thinking: { type: 'disabled' } })).json()).toEqual({
      input_tokens: bytes('<user>hello</><assistant>'),
    })
    expect((await count({ max_tokens: 5 })).headers.get('x-foretoken-ignored')).toBe('max_tokens')
    expect((await count({ messages: [{ role: 'user', content: 'x'.repeat(2000) }] })).status).toBe(400)
  })

  test('holds nothing afterwards, and waits for its place as an answer does', async () => {
    const busy = appWith({ limits: { concurrency: 1, waitSeconds: 0 } })
    const held = await ask(busy, body({ stream: true, max_tokens: 500 }), { path, key: testKeys.two })
    const options = { path: `${path}/count_tokens` }
    expect((await ask(busy, { model: 'tiny', messages: hello }, options)).status).toBe(529)
    await held.body!.cancel()
    for (let n = 0; n < 3; n++) expect((await ask(busy, { model: 'tiny', messages: hello }, options)).status).toBe(200)
    expect(engine.stats).toMatchObject({ running: 0, waiting: 0 })
  })
})

test('unknown fields are ignored and named', async () => {
  const response = await send({ fallbacks: [], messages: [{ ...hello[0], id: 'x' }] })
  expect(response.headers.get('x-foretoken-ignored')).toBe('messages[0].id, fallbacks')
})
