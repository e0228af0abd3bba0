/** Ollama's API: what a request means, what an answer says, names of models, and failures. */
import { Ollama } from 'ollama'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createApp, type ServerConfig } from '../../edge/index.ts'
import { namedModel } from '../../edge/ollama/names.ts'
import {
  chatLine,
  chatResponse,
  errorResponse,
  runningResponse,
  showResponse,
  tagsResponse,
  textLine,
  textResponse,
  versionResponse,
} from '../../edge/ollama/schemas.ts'
import type { z } from '../../edge/schemas/common.ts'
import type { App } from '../../edge/server.ts'
import { loadGuides } from '../../node/guides.ts'
import { loadWasm } from '../../node/index.ts'
import { Engine } from '../../src/index.ts'
import { type Ask, ask, chatBody } from '../helpers/ask.ts'
import { failingAfter } from '../helpers/failing-engine.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { testConfig, testKeys } from '../helpers/tiny-server.ts'

// Shows who said what, what was reasoned and whether to reason.
const template =
  '{% for m in messages %}<{{ m.role }}>{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}{{ m.content }}</>{% endfor %}' +
  '{% if enable_thinking is defined %}[{{ enable_thinking }}]{% endif %}{% if add_generation_prompt %}<assistant>{% endif %}'

let engine: Engine
let app: App
const appWith = (config: ServerConfig = {}) => createApp({ engine, config: { ...testConfig, ...config } })
beforeAll(async () => {
  const files = tinyFiles({ context: 1024, metadata: { 'tokenizer.chat_template': { text: template } } })
  engine = await Engine.load(files, { wasm: await loadWasm('simd128', 1), threads: 1, guides: loadGuides })
  app = appWith()
})
afterAll(() => engine.close())

const options = { num_predict: 4, temperature: 0 }
const chatOf = (change: object = {}) => ({
  model: 'tiny',
  messages: [{ role: 'user', content: 'hello' }],
  stream: false,
  options,
  ...change,
})
const textOf = (change: object = {}) => ({ model: 'tiny', prompt: 'hello', stream: false, options, ...change })
const send = (path: string, body: object, settings: Ask = {}) => ask(app, body, { path, ...settings })

/** Returns what a response holds, which its schema names completely. */
async function parsed<S extends z.ZodType>(schema: S, response: Response): Promise<z.output<S>> {
  const text = await response.text()
  expect(response.status, text).toBe(200)
  const body = JSON.parse(text)
  expect(schema.parse(body)).toEqual(body)
  return schema.parse(body)
}
const chat = async (change: object = {}) => parsed(chatResponse, await send('/api/chat', chatOf(change)))
const generate = async (change: object = {}) => parsed(textResponse, await send('/api/generate', textOf(change)))

/** Returns the lines of a stream, and its last. */
async function lines<S extends z.ZodType, L extends z.ZodType>(one: S, last: L, response: Response) {
  expect(response.headers.get('content-type')).toBe('application/x-ndjson')
  const text = await response.text()
  expect(text).toMatch(/\n$/)
  const all = text.trimEnd().split('\n')
  const read = <T extends z.ZodType>(schema: T, line: string): z.output<T> => {
    expect(schema.parse(JSON.parse(line))).toEqual(JSON.parse(line))
    return schema.parse(JSON.parse(line))
  }
  return { tokens: all.slice(0, -1).map((line) => read(one, line)), end: read(last, all.at(-1)!) }
}

const bytes = (text: string) => engine.promptIds(text, { raw: true }).length

describe('a prompt', () => {
  const user = { role: 'user', content: 'hello' }
  test.each<[string, object, string]>([
    ['one message', {}, '<user>hello</><assistant>'],
    ['several', { messages: [{ role: 'system', content: 'x' }, user] }, '<system>x</><user>hello</><assistant>'],
    [
      'no content',
      { messages: [user, { role: 'assistant' }, user] },
      '<user>hello</><assistant></><user>hello</><assistant>',
    ],
    [
      'an answer to continue',
      { messages: [user, { role: 'assistant', content: 'It' }] },
      '<user>hello</><assistant>It',
    ],
    [
      'reasoning',
      { messages: [user, { role: 'assistant', content: 'so', thinking: 'why' }, user] },
      '<user>hello</><assistant>(why)so</><user>hello</><assistant>',
    ],
    ['a wish to reason', { think: true }, '<user>hello</>[True]<assistant>'],
    ['a wish to reason little', { think: 'low' }, '<user>hello</>[True]<assistant>'],
    ['a wish not to', { think: false }, '<user>hello</>[False]<assistant>'],
    [
      'nulls',
      { think: null, format: null, tools: null, options: { ...options, stop: null } },
      '<user>hello</><assistant>',
    ],
  ])('of %s', async (_, change, text) => {
    expect(await chat(change)).toMatchObject({ prompt_eval_count: bytes(text), eval_count: 4 })
  })

  test.each<[string, object, string]>([
    ['a text', {}, '<user>hello</><assistant>'],
    ['a system message', { system: 'x' }, '<system>x</><user>hello</><assistant>'],
    ['a raw text', { raw: true }, 'hello'],
    ['a wish to reason', { think: true }, '<user>hello</>[True]<assistant>'],
    ['empty lists', { images: [], context: [], template: '', suffix: '' }, '<user>hello</><assistant>'],
  ])('of a text: %s', async (_, change, text) => {
    expect(await generate(change)).toMatchObject({ prompt_eval_count: bytes(text), eval_count: 4 })
  })
})

describe('an answer', () => {
  // The same request in OpenAI's API.
  const same = async (change: object) =>
    (await (await ask(app, chatBody({ messages: [{ role: 'user', content: 'hello' }], ...change }))).json()).choices[0]

  test('is the one that other APIs give, whole and as lines', async () => {
    const { message } = await same({ max_tokens: 24 })
    const whole = await chat({ options: { ...options, num_predict: 24 } })
    expect(whole).toMatchObject({ model: 'tiny', done_reason: 'length', eval_count: 24 })
    expect(whole.message).toEqual({ role: 'assistant', content: message.content })
    const change = { options: { ...options, num_predict: 24 }, stream: undefined }
    const { tokens, end } = await lines(chatLine, chatResponse, await send('/api/chat', chatOf(change)))
    expect(tokens.map(({ message }) => message.content).join('')).toBe(message.content)
    expect(end).toMatchObject({ message: { content: '' }, done_reason: 'length', eval_count: 24 })
    const text = await lines(textLine, textResponse, await send('/api/generate', textOf(change)))
    expect(text.tokens.map(({ response }) => response).join('')).toBe(message.content)
  })

  // A bias makes the model answer in letters; Ollama has none, so seeds are compared.
  test('takes its options', async () => {
    const drawn = { temperature: 0.9, top_k: 20, top_p: 0.9, min_p: 0.01, seed: 7, presence_penalty: 0.1 }
    const wanted = await same({ ...drawn, repetition_penalty: 1.2, frequency_penalty: 0.2, max_tokens: 16 })
    const given = { ...drawn, repeat_penalty: 1.2, frequency_penalty: 0.2, num_predict: 16 }
    expect((await chat({ options: given })).message).toEqual({ role: 'assistant', content: wanted.message.content })
    const free = await same({ temperature: 0.9, seed: 7, max_tokens: 16 })
    const off = { temperature: 0.9, seed: 7, num_predict: 16, repeat_penalty: 1.5, repeat_last_n: 0 }
    expect((await chat({ options: off })).message.content).toBe(free.message.content)
    expect((await chat({ options: { ...off, repeat_last_n: -1 } })).message.content).not.toBe(free.message.content)
    const long = { temperature: 0.9, seed: 7, num_predict: 200 }
    const { content } = (await chat({ options: long })).message
    const stop = /[^\ufffd]/u.exec(content)![0]
    expect(await chat({ options: { ...long, stop: [stop] } })).toMatchObject({
      message: { content: content.slice(0, content.indexOf(stop)) },
      done_reason: 'stop',
    })
  })

  test('ignores options that change nothing', async () => {
    const host = { num_ctx: 9, num_gpu: 1, num_thread: 2, use_mmap: true, numa: false, num_keep: 5, mirostat_tau: 3 }
    const change = {
      options: { ...options, ...host, mirostat: 0, tfs_z: 1, typical_p: 1, repeat_last_n: 64, seed: -1 },
    }
    const plain = await chat()
    const response = await send('/api/chat', chatOf({ ...change, keep_alive: '5m', truncate: true }))
    expect(response.headers.get('x-foretoken-ignored')).toBeNull()
    expect((await parsed(chatResponse, response)).message).toEqual(plain.message)
    const odd = await send('/api/chat', chatOf({ options: { ...options, odd: 1 }, temperature: 1 }))
    expect(odd.headers.get('x-foretoken-ignored')).toBe('options.odd, temperature')
  })

  test('has limits of -1 and -2', async () => {
    for (const num_predict of [-1, -2]) {
      const { prompt_eval_count, eval_count, done_reason } = await chat({ options: { ...options, num_predict } })
      if (done_reason === 'length') expect(prompt_eval_count + eval_count).toBe(1024)
    }
    expect(await chat({ options: { num_predict: 0 } })).toMatchObject({ eval_count: 0, message: { content: '' } })
  })

  test('has log-probabilities, for every token of its text', async () => {
    const asked = { logprobs: true, top_logprobs: 2 }
    const whole = await chat(asked)
    expect(whole.logprobs).toHaveLength(4)
    const { tokens } = await lines(chatLine, chatResponse, await send('/api/chat', chatOf({ ...asked, stream: true })))
    expect(tokens.flatMap(({ logprobs }) => logprobs ?? [])).toEqual(whole.logprobs)
    const { content } = (await same({ logprobs: true, top_logprobs: 2 })).logprobs
    expect(whole.logprobs).toEqual(content)
  })

  test('has the shape of a schema, or is any object', async () => {
    const format = {
      type: 'object',
      properties: { ok: { enum: [true, null] }, n: { type: 'integer', minimum: 1, maximum: 9 } },
      required: ['ok', 'n'],
      additionalProperties: false,
    }
    const settings = { num_predict: 300, temperature: 1, seed: 5 }
    const { message, done_reason } = await chat({ format, options: settings })
    expect(done_reason).toBe('stop')
    expect(Object.keys(JSON.parse(message.content))).toEqual(['ok', 'n'])
    const change = { format, options: settings, stream: true }
    const { tokens } = await lines(textLine, textResponse, await send('/api/generate', textOf(change)))
    expect(Object.keys(JSON.parse(tokens.map(({ response }) => response).join('')))).toEqual(['ok', 'n'])
    expect((await generate({ format: 'json', options: { ...settings, num_predict: 20 } })).response).toMatch(/^\s*\{/)
  })

  test('times add up, in nanoseconds', async () => {
    const { total_duration, load_duration, prompt_eval_duration, eval_duration, foretoken } = await chat()
    expect(load_duration + prompt_eval_duration + eval_duration).toBeLessThanOrEqual(total_duration)
    expect(prompt_eval_duration).toBe(Math.round(foretoken!.timings.prefill_ms * 1e6))
  })

  test('without a prompt the model is only loaded', async () => {
    for (const messages of [[], null, undefined])
      expect(await chat({ messages })).toMatchObject({ done_reason: 'load', eval_count: 0 })
    expect(await generate({ prompt: '', keep_alive: 0 })).toMatchObject({ response: '', done_reason: 'unload' })
    expect((await send('/api/generate', { model: 'other' })).status).toBe(404)
  })

  test('a stream shows its life as lines without text', async () => {
    const slow = appWith({ keepAliveSeconds: 0.001 })
    const messages = [{ role: 'user', content: 'word '.repeat(190) }]
    const response = await ask(slow, chatOf({ messages, stream: true }), { path: '/api/chat' })
    const { tokens } = await lines(chatLine, chatResponse, response)
    expect(tokens[0]).toMatchObject({ message: { content: '' }, done: false })
  })
})

const clock = { type: 'function', function: { name: 'clock', parameters: { type: 'object' } } }

describe('a failure', () => {
  const failed = async (response: Response) => {
    const body = await response.json()
    expect(errorResponse.parse(body)).toEqual(body)
    return [response.status, body.error]
  }

  test.each<[string, string, object, number, RegExp]>([
    ['a schema from elsewhere', '/api/chat', { format: { $ref: 'https://example.org/a.json' } }, 400, /example\.org/],
    ['another format', '/api/generate', { format: 'xml' }, 400, /format/],
    ['a tool without a function', '/api/chat', { tools: [{ type: 'function' }] }, 400, /tools\[0\]\.function/],
    [
      'two results of one call',
      '/api/chat',
      {
        messages: [
          { role: 'user', content: 'x' },
          { role: 'assistant', tool_calls: [{ function: { name: 'clock', arguments: {} } }] },
          { role: 'tool', tool_name: 'clock', content: '1' },
          { role: 'tool', tool_name: 'clock', content: '2' },
        ],
      },
      400,
      /messages\[3\]\.tool_name: this is a second result/,
    ],
    ['two tools of one name', '/api/chat', { tools: [clock, clock] }, 400, /two tools.*clock|clock.*twice/],
    ['images', '/api/chat', { messages: [{ role: 'user', content: '', images: ['x'] }] }, 400, /messages\[0\]\.images/],
    [
      'a result without its call',
      '/api/chat',
      { messages: [{ role: 'tool', content: 'x' }] },
      400,
      /messages\[0\]\.tool_name/,
    ],
    ['a template', '/api/generate', { template: '{{ .Prompt }}' }, 400, /template is not supported/],
    ['a context', '/api/generate', { context: [1, 2] }, 400, /context is not supported/],
    ['a system message of a raw text', '/api/generate', { raw: true, system: 'x' }, 400, /leave system out/],
    ['a gap', '/api/generate', { suffix: 'x' }, 400, /fill-in-the-middle/],
    ['an image to make', '/api/generate', { width: 512 }, 400, /width is not supported/],
    ['mirostat', '/api/chat', { options: { mirostat: 2 } }, 400, /options\.mirostat is not supported/],
    ['typical sampling', '/api/chat', { options: { typical_p: 0.5 } }, 400, /options\.typical_p is not supported/],
    [
      'a window of penalties',
      '/api/chat',
      { options: { repeat_penalty: 1.1, repeat_last_n: 64 } },
      400,
      /options\.repeat_last_n is not supported.*use -1/,
    ],
    ['log-probabilities of what was not asked', '/api/chat', { top_logprobs: 3 }, 400, /logprobs: true/],
    ['a model that is not here', '/api/chat', { model: 'other:1b' }, 404, /no model "other:1b"/],
    ['too long a prompt', '/api/generate', { prompt: 'x'.repeat(2000) }, 400, /context/],
    ['embeddings of a chat model', '/api/embed', { input: 'x' }, 400, /tiny is not an embedding model/],
    ['embeddings of older clients', '/api/embeddings', { prompt: 'x' }, 400, /tiny is not an embedding model/],
    ['an empty text to embed', '/api/embeddings', { prompt: '' }, 400, /prompt/],
    ['a pull', '/api/pull', {}, 404, /does not change its models/],
    ['a model that cannot be shown', '/api/show', { model: 'other' }, 404, /no model "other"/],
  ])('of %s', async (_, path, change, status, message) => {
    const body = path === '/api/generate' ? textOf(change) : chatOf(change)
    expect(await failed(await send(path, body))).toEqual([status, expect.stringMatching(message)])
    expect(await failed(await send(path, { ...body, stream: true }))).toEqual([status, expect.stringMatching(message)])
  })

  test('of keys, methods and bodies', async () => {
    expect(await failed(await send('/api/tags', {}, { key: '' }))).toEqual([401, expect.stringContaining('no key')])
    expect(await failed(await ask(app, undefined, { path: '/api/chat' }))).toEqual([405, expect.any(String)])
    expect(await failed(await ask(app, undefined, { path: '/api/chat', raw: '{' }))).toEqual([400, expect.any(String)])
  })

  test('in the middle of a stream is a line, which the client throws', async () => {
    const broken = createApp({ engine: failingAfter(2, engine), config: testConfig })
    const response = await ask(broken, chatOf({ stream: true }), { path: '/api/chat' })
    expect(JSON.parse((await response.text()).trimEnd().split('\n').at(-1)!)).toEqual({ error: expect.any(String) })
    const client = new Ollama({
      host: 'http://app.test',
      headers: { authorization: `Bearer ${testKeys.one}` },
      fetch: async (input, init) => broken.fetch(new Request(input, init)),
    })
    const read = async () => {
      for await (const _ of await client.chat({ ...chatOf(), stream: true }));
    }
    await expect(read()).rejects.toThrow('worker was lost')
  })
})

describe('lists', () => {
  const get = <S extends z.ZodType>(schema: S, path: string) =>
    ask(app, undefined, { path }).then((response) => parsed(schema, response))

  test('describe the model', async () => {
    const details = { family: 'llama', families: ['llama'], quantization_level: 'F32', parameter_size: '1.25M' }
    expect(await get(tagsResponse, '/api/tags')).toMatchObject({
      models: [{ name: 'tiny:latest', digest: engine.archive.fingerprint, details }],
    })
    expect(await get(runningResponse, '/api/ps')).toMatchObject({ models: [{ context_length: 1024 }] })
    expect(await get(versionResponse, '/api/version')).toEqual({ version: expect.stringMatching(/^\d+\.\d+\.\d+$/) })
    for (const named of [{ model: 'tiny' }, { name: 'tiny:latest' }])
      expect(await parsed(showResponse, await send('/api/show', named))).toMatchObject({
        template,
        details,
        capabilities: ['completion', 'tools', 'thinking'],
        model_info: { 'general.architecture': 'llama', 'llama.context_length': 1024, 'llama.vocab_size': 259 },
      })
  })

  test('need no loaded model where the config names it, and say so', async () => {
    const config = { ...testConfig, models: ['a', 'b:1'] }
    const unloaded = createApp({ engine: async () => engine, config })
    const ofPath = async (path: string) => (await ask(unloaded, undefined, { path })).json()
    expect(
      (await ofPath('/api/tags')).models.map(({ name, size }: { name: string; size: number }) => [name, size]),
    ).toEqual([
      ['a:latest', 0],
      ['b:1', 0],
    ])
    expect(await ofPath('/api/ps')).toEqual({ models: [] })
  })

  test.each(['/', '/api/tags', '/api/version'])('HEAD %s finds the server', async (path) => {
    const response = await ask(app, undefined, { path, method: 'HEAD' })
    expect([response.status, await response.text()]).toEqual([200, ''])
  })

  test('/ has the text that clients look for, without a key', async () => {
    expect(await (await ask(app, undefined, { path: '/', key: '' })).text()).toBe('Ollama is running')
  })
})

test.each([
  ['smollm2-135m', 'smollm2-135m'],
  ['smollm2-135m:latest', 'smollm2-135m'],
  ['smollm2:135m', 'smollm2-135m'],
  ['llama3', 'llama3:latest'],
  ['llama3:latest', 'llama3:latest'],
  ['llama3:8b', undefined],
  ['smollm2', undefined],
  ['', undefined],
  [':latest', undefined],
])('the name %s means %s', (name, model) => {
  expect(namedModel(name, ['smollm2-135m', 'llama3:latest'])).toBe(model)
})

test('a body of any type is JSON, unless a page sent it', async () => {
  const post = (headers: Record<string, string>) =>
    ask(appWith({ origins: ['https://good.example'] }), undefined, {
      path: '/api/chat',
      raw: JSON.stringify(chatOf()),
      headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers },
    })
  expect((await post({})).status).toBe(200)
  expect((await post({ origin: 'https://good.example' })).status).toBe(415)
  const chat = await ask(app, undefined, { raw: JSON.stringify(chatBody()), headers: { 'content-type': 'text/plain' } })
  expect(chat.status).toBe(415)
})
