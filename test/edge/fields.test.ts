/**
 * Fields as clients send them: nulls, other servers' names, unknown ones, and those that must not
 * be ignored.
 */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createApp, type LogLine, type ServerConfig } from '../../edge/index.ts'
import { chatToolChoice } from '../../edge/schemas/tools.ts'
import type { App } from '../../edge/server.ts'
import { unknownFields } from '../../edge/unknown.ts'
import { loadWasm } from '../../node/index.ts'
import { Engine } from '../../src/index.ts'
import { ask, chatBody, refusal } from '../helpers/ask.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { testConfig } from '../helpers/tiny-server.ts'

const template =
  "{% for message in messages %}{{'<|im_start|>' + message['role']}}{% if message.name %}{{'/' + message.name}}{% endif %}" +
  "{% if message.reasoning_content %}{{'(' + message.reasoning_content + ')'}}{% endif %}{{'\n' + message['content'] + '<|im_end|>\n'}}" +
  "{% endfor %}{% if enable_thinking %}{{'<think>'}}{% endif %}{% if add_generation_prompt %}{{'<|im_start|>assistant\n'}}{% endif %}"

let engine: Engine
let app: App
/** With a context that an answer without a limit soon fills. */
let short: Engine
const lines: LogLine[] = []
const appWith = (config: ServerConfig = {}) =>
  createApp({ engine, config: { ...testConfig, ...config }, onRequest: (line) => lines.push(line) })
beforeAll(async () => {
  const metadata = { 'tokenizer.chat_template': { text: template } }
  const wasm = await loadWasm('simd128', 1)
  engine = await Engine.load(tinyFiles({ context: 1024, metadata }), { wasm, threads: 1 })
  short = await Engine.load(tinyFiles({ context: 128, metadata }), { wasm, threads: 1 })
  app = appWith()
})
afterAll(() => Promise.all([engine.close(), short.close()]))

const paths = { chat: '/v1/chat/completions', completion: '/v1/completions', response: '/v1/responses' } as const
type Form = keyof typeof paths
const bodies: Record<Form, Record<string, unknown>> = {
  chat: chatBody(),
  completion: { model: 'tiny', prompt: 'hello', max_tokens: 4, temperature: 0 },
  response: { model: 'tiny', input: 'hello', max_output_tokens: 4, temperature: 0 },
}
const forms = Object.keys(paths) as Form[]
const send = (form: Form, change: object = {}, to = app) =>
  ask(to, { ...bodies[form], ...change }, { path: paths[form] })

/** Text and counts of an answer, in one shape. */
async function answered(response: Response) {
  const body = await response.json()
  expect(body.error ?? null).toBeNull()
  const { usage } = body
  return {
    text: body.choices?.[0].message?.content ?? body.choices?.[0].text ?? body.output[0].content[0].text,
    prompt: usage.prompt_tokens ?? usage.input_tokens,
    made: usage.completion_tokens ?? usage.output_tokens,
    ignored: response.headers.get('x-foretoken-ignored'),
  }
}
const given = async (form: Form, change: object = {}, to = app) => answered(await send(form, change, to))

describe('null is treated as absent', () => {
  const document = async () => (await ask(app, undefined, { path: '/openapi.json' })).json()
  const names = { chat: 'ChatCompletionRequest', completion: 'CompletionRequest', response: 'ResponseRequest' }
  const needed = ['model', 'messages', 'prompt', 'input']

  test.each(forms)('in every documented field of a %s, one by one and together', async (form) => {
    const { components } = await document()
    const fields = Object.keys(components.schemas[names[form]].properties)
    const optional = fields.filter((name) => !(needed.includes(name) && bodies[form][name] !== undefined))
    const plain = await given(form)
    for (const name of optional) {
      // A limit of no tokens at all would be the context.
      if (/^max_(output_|completion_)?tokens$/.test(name)) continue
      expect([name, await given(form, { [name]: null })]).toEqual([
        name,
        name === 'temperature' ? expect.anything() : plain,
      ])
    }
    const rest = optional.filter((name) => !/^max_|temperature/.test(name))
    expect(await given(form, Object.fromEntries(rest.map((name) => [name, null])))).toEqual(plain)
  })

  test('in messages, parts, items and nested objects', async () => {
    const nulls = { name: null, refusal: null, audio: null, tool_calls: null, function_call: null, annotations: null }
    const assistant = { role: 'assistant', content: null, reasoning_content: null, ...nulls }
    const messages = [
      { role: 'user', content: [{ type: 'text', text: 'x', cache_control: null }, null], ...nulls },
      assistant,
      { role: 'assistant', content: null },
      { role: 'user', content: 'y', name: null, tool_call_id: null },
      null,
    ]
    const more = {
      stream_options: { include_usage: null },
      foretoken: { prefill: null, top_k: null },
      logit_bias: { 5: null },
    }
    expect((await given('chat', { messages, ...more })).ignored).toBeNull()
    const item = { type: 'message', id: null, status: null, phase: null }
    const input = [
      { ...item, role: 'user', content: [{ type: 'input_text', text: 'x' }] },
      { ...item, role: 'assistant', content: [{ type: 'output_text', text: 'y', annotations: null, logprobs: null }] },
      { role: 'assistant', content: null },
    ]
    expect((await given('response', { input, text: { format: null, verbosity: null } })).ignored).toBeNull()
  })

  test('but required fields must be present, and a prompt of ids may have no holes', async () => {
    expect(await refusal(await send('chat', { messages: null }))).toMatchObject({ status: 400, param: 'messages' })
    expect(await refusal(await send('chat', { messages: [{ role: 'user', content: null }] }))).toMatchObject({
      status: 400,
      param: 'messages[0].content',
    })
    expect(await refusal(await send('completion', { prompt: [1, null, 2] }))).toMatchObject({ param: 'prompt[1]' })
  })
})

describe('values passed to the chat template', () => {
  test('names and reasoning of messages, under any of their field names', async () => {
    const messages = (more: object) => ({ messages: [{ role: 'assistant', content: 'x', ...more }] })
    const { prompt } = await given('chat', messages({}))
    expect((await given('chat', messages({ name: 'Ada' }))).prompt).toBe(prompt + 4)
    for (const name of ['reasoning_content', 'reasoning', 'thinking'])
      expect(await given('chat', messages({ [name]: 'abc' }))).toMatchObject({ prompt: prompt + 5, ignored: null })
    expect(await refusal(await send('chat', messages({ name: 'x'.repeat(257) })))).toMatchObject({
      param: 'messages[0].name',
    })
    expect((await send('chat', messages({ name: 'x'.repeat(256) }))).status).toBe(200)
  })

  test.each(['chat', 'response'] as const)('template arguments, in a %s', async (form) => {
    const { prompt } = await given(form)
    const think = '<think>'.length
    for (const change of [
      { chat_template_kwargs: { enable_thinking: true } },
      { enable_thinking: true },
      { think: true },
    ])
      expect(await given(form, change)).toMatchObject({ prompt: prompt + think, ignored: null })
    const begun = 'assistant\n'.length + 1
    expect((await given(form, { add_generation_prompt: false })).prompt).toBe(prompt - begun)
    expect((await given(form, { chat_template_kwargs: { add_generation_prompt: false } })).prompt).toBe(prompt - begun)
    expect(await refusal(await send(form, { chat_template_kwargs: 'x' }))).toMatchObject({
      param: 'chat_template_kwargs',
    })
  })

  test('a partial answer to continue', async () => {
    const turns = [
      { role: 'user', content: 'x' },
      { role: 'assistant', content: 'abc' },
    ]
    const closed = (await given('chat', { messages: turns, add_generation_prompt: false })).prompt
    // The token that ends a turn, and the line end after it.
    const ended = 2
    const goesOn = { continue_final_message: true }
    expect((await given('chat', { messages: turns, ...goesOn })).prompt).toBe(closed - ended)
    expect((await given('response', { input: turns, ...goesOn })).prompt).toBe(closed - ended)
    const both = { messages: turns, ...goesOn, add_generation_prompt: true }
    expect(await refusal(await send('chat', both))).toMatchObject({ param: 'continue_final_message' })
    expect((await send('chat', { messages: turns.slice(0, 1), ...goesOn })).status).toBe(400)
  })

  test('the content of a message, whatever its text parts are called, and never as a special token', async () => {
    const chat = (content: unknown) => given('chat', { messages: [{ role: 'user', content }] })
    const { prompt } = await chat('ab')
    for (const type of ['text', 'input_text', 'output_text'])
      expect(
        (
          await chat([
            { type, text: 'a' },
            { type, text: 'b' },
          ])
        ).prompt,
        // Parts are lines, where a template reads texts only.
      ).toBe(prompt + 1)
    expect((await chat('<|im_end|>')).prompt).toBe(prompt + 8)
    expect((await chat([])).prompt).toBe(prompt - 2)
    for (const type of ['text', 'input_text', 'output_text'])
      for (const role of ['user', 'assistant'])
        expect((await send('response', { input: [{ role, content: [{ type, text: 'ab' }] }] })).status).toBe(200)
  })
})

describe('fields of other servers', () => {
  test.each(forms)('are honoured in a %s by all of their names', async (form) => {
    const drawn = { temperature: 1.9, seed: 5, logit_bias: undefined }
    const limit = { chat: 'max_tokens', completion: 'max_tokens', response: 'max_output_tokens' }[form]
    const free = { ...drawn, [limit]: 12 }
    const penalized = await given(form, { ...free, repetition_penalty: 9 })
    for (const same of [
      { repeat_penalty: 9 },
      { options: { repeat_penalty: 9 } },
      { foretoken: { repetition_penalty: 9 } },
    ])
      expect(await given(form, { ...free, ...same })).toEqual(penalized)
    expect(penalized.text).not.toBe((await given(form, free)).text)
    // One token to draw from is the likeliest.
    const { text } = await given(form, { ...free, temperature: 0 })
    expect((await given(form, { ...free, top_k: 1 })).text).toBe(text)
    expect((await given(form, { ...free, min_p: 1 })).text).toBe(text)
    const whole = await given(form, { ...free, top_k: 0 })
    for (const top_k of [-1, 2 ** 31, 1e300]) expect((await given(form, { ...free, top_k })).text).toBe(whole.text)
    for (const name of ['n_predict', 'num_predict', 'max_new_tokens', 'max_output_tokens'])
      expect(await given(form, { [limit]: undefined, [name]: 7 })).toMatchObject({ made: 7, ignored: null })
    expect((await given(form, { [limit]: undefined, options: { num_predict: 7 } })).made).toBe(7)
  })

  test.each(forms)('end a %s, or keep it from ending', async (form) => {
    const limit = { chat: 'max_tokens', completion: 'max_tokens', response: 'max_output_tokens' }[form]
    const eos = engine.archive.tokenizer.eosIds[0]!
    const ends = { logit_bias: { [eos]: 100 }, [limit]: 9 }
    expect(await given(form, ends)).toMatchObject({ made: 1, text: '' })
    expect((await given(form, { ...ends, ignore_eos: true })).made).toBe(9)
    expect((await given(form, { ...ends, min_tokens: 5 })).made).toBe(6)
    expect((await given(form, { ...ends, min_tokens: 2 ** 40 })).made).toBe(9)
    const letter = { logit_bias: { 97: 100 }, [limit]: 9 }
    expect((await given(form, letter)).text).toBe('a'.repeat(9))
    expect(await given(form, { ...letter, stop_token_ids: [97] })).toMatchObject({ made: 1, text: '' })
    const late = await given(form, { ...letter, stop_token_ids: [97], min_tokens: 4 })
    expect(late.made).toBe(5)
    expect(await refusal(await send(form, { stop_token_ids: [engine.archive.config.vocab] }))).toMatchObject({
      param: 'stop_token_ids',
    })
    // Nothing would be left to draw.
    const all = Array.from({ length: engine.archive.config.vocab }, (_, id) => id)
    expect((await given(form, { [limit]: 5, stop_token_ids: all, min_tokens: 3 })).made).toBeLessThanOrEqual(5)
    for (const stop of ['', [], ['']]) expect((await given(form, { ...letter, stop })).made).toBe(9)
  })

  test('log-probabilities are requested by a number or by true, in either form', async () => {
    const scored = async (form: Form, change: object) => (await (await send(form, change)).json()).choices[0].logprobs
    expect((await scored('chat', { logprobs: 2 })).content[0].top_logprobs).toHaveLength(2)
    expect((await scored('completion', { logprobs: true })).tokens).toHaveLength(4)
    expect((await scored('completion', { logprobs: true, top_logprobs: 2 })).top_logprobs).toHaveLength(4)
    expect(await scored('completion', { logprobs: false })).toBeNull()
    expect((await scored('completion', { n_probs: 2 })).tokens).toHaveLength(4)
  })

  test('a field that is ignored may hold any value', async () => {
    const odd = { user: 7, metadata: { a: { b: [1] } }, service_tier: 'x', verbosity: 3 }
    expect(await given('chat', odd)).toEqual(await given('chat'))
  })

  test('options hold settings only, and no more entries than the top level may', async () => {
    const messages = [{ role: 'user', content: 'y' }]
    const hidden = { messages: undefined, options: { messages } }
    expect(await refusal(await send('chat', hidden))).toMatchObject({ status: 400, param: 'messages' })
    expect((await given('chat', { options: { messages, temperature: 1, top_k: 1 } })).ignored).toBe(
      'options.messages, options.temperature',
    )
    const ids = (count: number) => ({ options: { stop_token_ids: Array.from({ length: count }, () => 97) } })
    expect((await send('chat', ids(1024))).status).toBe(200)
    expect(await refusal(await send('chat', ids(1025)))).toMatchObject({ status: 400, param: 'options.stop_token_ids' })
    const texts = (count: number) => ({ stop_sequences: Array.from({ length: count }, (_, n) => `~${n}`) })
    expect((await send('chat', texts(16))).status).toBe(200)
    expect(await refusal(await send('chat', texts(17)))).toMatchObject({ status: 400, param: 'stop_sequences' })
  })

  test.each([5e-324, 1e-30, 10])(
    'a repetition penalty of %d leaves finite scores to draw from',
    async (repetition_penalty) => {
      for (const temperature of [0, 1e-5, 1, 2])
        expect((await given('completion', { repetition_penalty, temperature, seed: 1 })).made).toBeGreaterThan(0)
    },
  )

  test("a field's primary name wins over an alias, which is reported", async () => {
    expect(await given('completion', { max_tokens: 3, n_predict: 7 })).toMatchObject({ made: 3, ignored: 'n_predict' })
    expect(await given('completion', { max_tokens: 3, n_predict: 3 })).toMatchObject({ made: 3, ignored: null })
  })

  test('limits are clamped to the context; -1 means no limit', async () => {
    const left = { logit_bias: { 97: 100 } }
    const small = createApp({ engine: short, config: testConfig })
    for (const limit of [2147483647, 2 ** 53, 1e308, -1]) {
      const { prompt, made } = await given('completion', { ...left, max_tokens: limit }, small)
      expect(prompt + made).toBe(128)
    }
    const other = { ...left, max_tokens: undefined, options: { num_predict: -2, num_ctx: 4096 } }
    const ollama = await given('chat', other, small)
    expect(ollama.prompt + ollama.made).toBe(128)
    expect(ollama.ignored).toBe('num_ctx')
    for (const form of forms)
      expect(await given(form, { n_predict: 0, max_tokens: 0, max_output_tokens: 0 })).toMatchObject({
        made: 0,
        text: '',
      })
    expect((await given('completion', { max_tokens: 0, echo: true })).text).toBe('hello')
    for (const bad of [-2.5, -3, '7']) expect((await send('completion', { max_tokens: bad })).status).toBe(400)
  })
})

describe('unknown fields', () => {
  test('are not those of the branch of a union that a value fits', () => {
    const named = { type: 'function', function: { name: 'clock' } }
    const allowed = { type: 'allowed_tools', allowed_tools: { mode: 'required', tools: [named] } }
    expect(unknownFields(chatToolChoice, named, 9)).toEqual([])
    expect(unknownFields(chatToolChoice, allowed, 9)).toEqual([])
    expect(unknownFields(chatToolChoice, { ...allowed, odd: 1 }, 9)).toEqual(['odd'])
  })

  const extras = {
    keep_alive: '5m',
    messages: [{ role: 'user', content: [{ type: 'text', text: 'hello', cache_control: {} }], id: 'x' }],
  }

  test('are ignored, and each is reported once in a header and in the log', async () => {
    lines.length = 0
    const { text, ignored } = await given('chat', extras)
    expect(text).toBe((await given('chat')).text)
    expect(ignored).toBe('messages[0].content[0].cache_control, messages[0].id, keep_alive')
    expect(lines[0]).toMatchObject({ status: 200, ignored })
    const streamed = await send('chat', { ...extras, stream: true })
    expect(streamed.headers.get('x-foretoken-ignored')).toBe(ignored)
    expect(await streamed.text()).toContain('[DONE]')
  })

  test('in any number and with any name fit into a header', async () => {
    const names = Array.from({ length: 200 }, (_, n) => `x${n}`)
    const many = await given('chat', Object.fromEntries(names.map((name) => [name, 1])))
    expect(many.ignored!.split(', ')).toEqual(names.slice(0, 16))
    const odd = await given('chat', {
      'a\r\nset-cookie: b=1': 1,
      é: 1,
      ['y'.repeat(500)]: 1,
      constructor: 1,
      toString: 1,
    })
    expect(odd.ignored).toBe(`a??set-cookie??b?1, ?, ${'y'.repeat(60)}..., constructor, toString`)
  })

  test('are refused by name in strict mode; nulls and aliases are not unknown', async () => {
    const strict = appWith({ strict: true })
    const refused = await refusal(await ask(strict, chatBody({ keep_alive: 1 })))
    expect(refused).toMatchObject({ status: 400, code: 'unsupported_parameter', param: 'keep_alive' })
    const known = {
      keep_alive: null,
      repeat_penalty: 1.1,
      cache_prompt: true,
      skip_special_tokens: true,
      verbosity: 'low',
    }
    expect((await ask(strict, chatBody(known))).status).toBe(200)
  })
})

describe('a field that would change the answer is refused by name', () => {
  test.each<[Form, object, string]>([
    ['chat', { tools: [{ type: 'custom', custom: { name: 'f' } }] }, 'tools[0].type'],
    [
      'chat',
      { messages: [{ role: 'assistant', function_call: { name: 'f', arguments: '' } }] },
      'messages[0].function_call',
    ],
    ['chat', { functions: [{ name: 'f' }] }, 'functions'],
    ['chat', { function_call: { name: 'f' } }, 'function_call'],
    ['chat', { modalities: ['audio'] }, 'modalities[0]'],
    ['chat', { audio: { voice: 'x', format: 'wav' } }, 'audio'],
    ['chat', { web_search_options: {} }, 'web_search_options'],
    ['chat', { moderation: { model: 'x' } }, 'moderation'],
    ['chat', { documents: [{ text: 'x' }] }, 'documents'],
    ['chat', { chat_template: '{{ x }}' }, 'chat_template'],
    ['chat', { messages: [{ role: 'user', content: 'x' }], images: ['x'] }, 'images'],
    ['completion', { best_of: 2 }, 'best_of'],
    ['completion', { prompt_logprobs: 1 }, 'prompt_logprobs'],
    ['completion', { echo: true, logprobs: 1 }, 'echo'],
    ['completion', { use_beam_search: true }, 'use_beam_search'],
    ['response', { n: 2 }, 'n'],
    ['response', { tools: [{ type: 'web_search' }] }, 'tools[0].type'],
    ['response', { background: true }, 'background'],
    ['response', { conversation: 'conv_1' }, 'conversation'],
    ['response', { previous_response_id: 'resp_1' }, 'previous_response_id'],
    ['response', { prompt: { id: 'pmpt_1' } }, 'prompt'],
  ])('%s %j', async (form, change, param) => {
    expect(await refusal(await send(form, change))).toMatchObject({ status: 400, param, code: 'unsupported_value' })
  })

  test('a response that continues an earlier one is told to send all items, with store: false', async () => {
    for (const change of [{ previous_response_id: 'resp_1' }, { conversation: { id: 'c' } }]) {
      const { message } = await refusal(await send('response', change))
      expect(message).toMatch(/nothing is kept between requests; send the whole conversation with store: false/)
    }
  })

  test('a no-op value is accepted', async () => {
    const nothing = { tools: [], functions: [], function_call: 'none', tool_choice: 'auto', documents: [], format: '' }
    const off = {
      guided_json: false,
      chat_template: '',
      response_format: { type: 'text' },
      modalities: ['text'],
      images: [],
    }
    expect(await given('chat', { ...nothing, ...off })).toEqual(await given('chat'))
  })

  test.each([
    { type: 'item_reference', id: 'msg_1' },
    { type: 'web_search_call', id: 'ws_1', status: 'completed' },
    { type: 7 },
  ])('an item that is not complete in itself: %j', async (item) => {
    const input = [{ role: 'user', content: 'x' }, item]
    const found = await refusal(await send('response', { input }))
    expect(found).toMatchObject({ status: 400, param: 'input[1]', code: 'unsupported_value' })
    expect(found.message).toContain('store: false')
  })
})
