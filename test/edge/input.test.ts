/** Invalid input gets the documented status, in OpenAI's format, and the server keeps running. */

import { afterAll, beforeAll, expect, test } from 'vitest'
import { createApp } from '../../edge/index.ts'
import type { App } from '../../edge/server.ts'
import type { Engine } from '../../src/index.ts'
import { ask, chatBody, refusal } from '../helpers/ask.ts'
import fc from '../helpers/properties.ts'
import { testConfig, tinyEngine } from '../helpers/tiny-server.ts'

let engine: Engine
let app: App
beforeAll(async () => {
  engine = await tinyEngine()
  app = createApp({ engine, config: { ...testConfig, limits: { bodyBytes: 50_000, messages: 8, outputTokens: 100 } } })
})
afterAll(() => engine.close())

const image = [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:,' } }] }]

test.each<[string, object, string, string]>([
  ['tools of another kind', { tools: [{ type: 'custom' }] }, 'tools[0].type', 'unsupported_value'],
  ['functions', { functions: [{ name: 'f' }] }, 'functions', 'unsupported_value'],
  ['an unknown format', { response_format: { type: 'xml' } }, 'response_format.type', 'invalid_value'],
  ['images', { messages: image }, 'messages[0].content[0].type', 'unsupported_value'],
  ['audio', { modalities: ['text', 'audio'] }, 'modalities', 'invalid_value'],
  ['storing', { store: true }, 'store', 'unsupported_value'],
  [
    "a tool's message without a call",
    { messages: [{ role: 'tool', content: 'x', tool_call_id: 'y' }] },
    'messages[0].tool_call_id',
    'invalid_value',
  ],
  ['an own field', { foretoken: { magic: 1 } }, 'foretoken.magic', 'unsupported_parameter'],
  ['prediction without a predictor', { foretoken: { prefill: 'refined' } }, 'foretoken.prefill', 'unsupported_value'],
  ['no messages', { messages: [] }, 'messages', 'invalid_value'],
  ['a wrong type', { messages: 'hello' }, 'messages', 'invalid_value'],
  ['a negative number', { max_tokens: -2.5 }, 'max_tokens', 'invalid_value'],
  ['a huge number', { max_tokens: 1e308 }, 'max_tokens', 'invalid_value'],
  ['a fraction', { n: 1.5 }, 'n', 'invalid_value'],
  ['too many choices', { n: 100 }, 'n', 'invalid_value'],
  ['more tokens than are made', { max_tokens: 101 }, 'max_tokens', 'invalid_value'],
  ['a temperature', { temperature: 2.1 }, 'temperature', 'invalid_value'],
  ['a bias of no token', { logit_bias: { 5000: 1 } }, 'logit_bias', 'invalid_value'],
  ['a bias by name', { logit_bias: { x: 1 } }, 'logit_bias.x', 'invalid_value'],
  ['alternatives without log-probabilities', { top_logprobs: 2 }, 'top_logprobs', 'invalid_value'],
])('%s: 400 names the field', async (_, change, param, code) => {
  const found = await refusal(await ask(app, chatBody(change)))
  expect(found).toMatchObject({ status: 400, param, code })
})

test.each<[string, string, object, string]>([
  [
    'earlier responses',
    '/v1/responses',
    { model: 'tiny', input: 'x', previous_response_id: 'resp_1' },
    'previous_response_id',
  ],
  ['hosted tools', '/v1/responses', { model: 'tiny', input: 'x', tools: [{ type: 'web_search' }] }, 'tools'],
  [
    'images',
    '/v1/responses',
    { model: 'tiny', input: [{ role: 'user', content: [{ type: 'input_image' }] }] },
    'input[0].content[0].type',
  ],
  ['a suffix', '/v1/completions', { model: 'tiny', prompt: 'x', suffix: 'y' }, 'suffix'],
  ['a token that is none', '/v1/completions', { model: 'tiny', prompt: [1, -4] }, 'prompt'],
])('%s: 400 on %s', async (_, path, body, param) => {
  const found = await refusal(await ask(app, body, { path }))
  expect(found.status).toBe(400)
  expect(found.param).toContain(param)
})

test.each<[string, Parameters<typeof ask>[2], number, string]>([
  ['broken JSON', { raw: '{"model": ' }, 400, 'invalid_json'],
  ['no body', { raw: '' }, 400, 'invalid_json'],
  ['bad UTF-8', { raw: new Uint8Array([0x22, 0xff, 0x22]) }, 400, 'invalid_json'],
  ['a form', { raw: '{}', headers: { 'content-type': 'text/plain' } }, 415, 'unsupported_media_type'],
  ['ten megabytes', { raw: new Uint8Array(10_000_000) }, 413, 'body_too_large'],
  ['as many in chunks without a length', { raw: endless() }, 413, 'body_too_large'],
  ['a body that breaks off', { raw: breaking() }, 400, 'incomplete_body'],
  ['another method', { method: 'DELETE' }, 405, 'method_not_allowed'],
  ['another path', { path: '/v1/moderations', raw: '{}' }, 404, 'not_found'],
  ['deep nesting', { raw: `{"model":${'['.repeat(20_000)}${']'.repeat(20_000)}}` }, 400, 'invalid_value'],
])('%s', async (_, options, status, code) => {
  expect(await refusal(await ask(app, undefined, options))).toMatchObject({ status, code })
})

test('a conversation of too many messages, an unknown model, a prompt over the context', async () => {
  const messages = Array.from({ length: 9 }, () => ({ role: 'user', content: 'x' }))
  expect(await refusal(await ask(app, chatBody({ messages })))).toMatchObject({ status: 413, param: 'messages' })
  expect(await refusal(await ask(app, chatBody({ model: 'other' })))).toMatchObject({
    status: 404,
    code: 'model_not_found',
  })
  for (const length of [1100, 49_000])
    expect(
      await refusal(await ask(app, chatBody({ messages: [{ role: 'user', content: 'y'.repeat(length) }] }))),
    ).toMatchObject({ status: 400, code: 'context_length_exceeded' })
})

test('null is treated as absent', async () => {
  const nulls = {
    stop: null,
    seed: null,
    n: null,
    tools: null,
    logit_bias: null,
    foretoken: null,
    top_p: null,
    user: null,
  }
  expect((await ask(app, chatBody(nulls))).status).toBe(200)
})

test('no body causes a server error, and no resource is left behind', async () => {
  const names =
    'model messages prompt input stream n stop seed temperature top_p max_tokens logprobs top_logprobs logit_bias foretoken'
  const value = fc.oneof(
    fc.jsonValue({ maxDepth: 3 }),
    fc.string({ unit: 'binary', maxLength: 50 }),
    fc.double(),
    fc
      .record({ role: fc.constantFrom('user', 'system', 'assistant'), content: fc.string() })
      .map((message) => [message]),
  )
  const changes = fc.dictionary(fc.constantFrom(...names.split(' ')), value, { maxKeys: 4 })
  const paths = {
    '/v1/chat/completions': chatBody(),
    '/v1/completions': { model: 'tiny', prompt: 'x', max_tokens: 2 },
    '/v1/responses': { model: 'tiny', input: 'x', max_output_tokens: 2 },
  }
  const path = fc.constantFrom(...(Object.keys(paths) as (keyof typeof paths)[]))
  await fc.assert(
    fc.asyncProperty(path, changes, async (path, changes) => {
      const response = await ask(app, { ...paths[path], ...changes }, { path })
      expect(response.status).toBeLessThan(500)
      if (response.status >= 400) expect(await refusal(response)).toMatchObject({ code: expect.any(String) })
      else await response.text()
    }),
    { numRuns: 300 },
  )
  expect(engine.stats).toMatchObject({ running: 0, waiting: 0, pages_in_use: engine.stats.prefix_pages })
})

function endless(): ReadableStream<Uint8Array> {
  return new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(10_000)) })
}

function breaking(): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      controller.enqueue(new Uint8Array(10))
      controller.error(new Error('the connection was reset'))
    },
  })
}
