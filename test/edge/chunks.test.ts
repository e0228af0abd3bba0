/** Chunks over HTTP: marked parts and blocks are kept and placed, and the report says so. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createApp } from '../../edge/index.ts'
import { report } from '../../edge/schemas/common.ts'
import type { App } from '../../edge/server.ts'
import type { Engine } from '../../src/index.ts'
import { ask } from '../helpers/ask.ts'
import { testConfig, testKeys, tinyEngine } from '../helpers/tiny-server.ts'

// biome-ignore lint/suspicious/noExplicitAny: two APIs have two shapes
type Json = any

let engine: Engine
let app: App
beforeAll(async () => {
  engine = await tinyEngine({ schedule: { refineMs: 0 } })
  app = createApp({ engine, config: testConfig })
})
afterAll(() => engine.close())

const documents = [
  'The mill at the river was built in 1846 and burnt down twice before it was left to the owls.',
  'A harbour needs a wall, a light and a pilot; this one had two of them and a dog.',
  'Bridges are named after those who paid, seldom after those who drowned under them.',
]
const question = 'Which of them was built first?'

/** A conversation about documents in an order, whose parts have further `fields`. */
const asked = (order: readonly number[], fields: object) => [
  {
    role: 'user',
    content: [
      ...order.map((index) => ({ type: 'text', text: documents[index], ...fields })),
      { type: 'text', text: question },
    ],
  },
]

const apis = {
  chat: {
    path: '/v1/chat/completions',
    body: (order: readonly number[], marks: boolean) => ({
      messages: asked(order, marks ? { foretoken: { chunks: true } } : {}),
    }),
    text: (answer: Json) => answer.choices[0].message.content,
  },
  messages: {
    path: '/v1/messages',
    body: (order: readonly number[], marks: boolean) => ({
      messages: asked(order, { cache_control: { type: 'ephemeral' } }),
      ...(marks && { foretoken: { chunks: true } }),
    }),
    text: (answer: Json) => answer.content[0].text,
  },
}
const names = Object.keys(apis) as (keyof typeof apis)[]

async function post(name: keyof typeof apis, body: object, key: string = testKeys.one): Promise<Json> {
  const response = await ask(
    app,
    { model: 'tiny', temperature: 0, max_tokens: 8, ...body },
    { path: apis[name].path, key },
  )
  const said = await response.text()
  expect(response.status, said).toBe(200)
  return JSON.parse(said)
}

describe.each(names)('%s', (name) => {
  const { body, text } = apis[name]

  test('places what an earlier request brought, and corrects a whole answer', async () => {
    const key = name === 'chat' ? testKeys.one : testKeys.two
    const first = (await post(name, body([0, 1], true), key)).usage.foretoken
    expect(first).toMatchObject({ prefill: 'exact', verified: true })
    // The server computes new chunks once the answer has been sent.
    await engine.keepChunks()
    const answer = await post(name, body([2, 1, 0], true), key)
    expect(report.parse(answer.usage.foretoken)).toEqual(answer.usage.foretoken)
    expect(answer.usage.foretoken.prefill).toBe('refined')
    expect(answer.usage.foretoken.placed_tokens).toBeGreaterThan(120)
    // Bytes are tokens here, so all three are as long as their texts.
    expect(answer.usage.foretoken.placed_tokens).toBeLessThan(documents[0]!.length + documents[1]!.length)
    const exact = await post(name, { ...body([2, 1, 0], false), foretoken: { prefill: 'exact' } }, key)
    expect(text(answer)).toBe(text(exact))
  })

  test('marks nothing unless it is asked to', async () => {
    const unmarked = await post(name, body([1, 0, 2], false))
    expect(unmarked.usage.foretoken.prefill).toBe('exact')
    expect(unmarked.usage.foretoken.verified).toBeUndefined()
  })

  test('streams the report', async () => {
    const more = name === 'chat' ? { stream_options: { include_usage: true } } : {}
    const key = name === 'chat' ? testKeys.one : testKeys.two
    const request = { model: 'tiny', temperature: 0, max_tokens: 4, stream: true, ...body([1, 2, 0], true), ...more }
    const response = await ask(app, request, { path: apis[name].path, key })
    expect(await response.text()).toMatch(/"placed_tokens":\d\d\d/)
  })
})

test('a cache_control that asks for nothing marks nothing', async () => {
  for (const cache_control of [null, false]) {
    const messages = asked([0, 1], { cache_control })
    const { usage } = await post('messages', { messages, foretoken: { chunks: true } })
    expect(usage.foretoken.verified).toBeUndefined()
  }
})

test('chunks of one tenant are not those of another', async () => {
  const order = [0, 2]
  await post('chat', apis.chat.body(order, true), testKeys.one)
  await engine.keepChunks()
  const fresh = await tinyEngine()
  const other = createApp({ engine: fresh, config: testConfig })
  const asked = async (key: string, order: readonly number[]) => {
    const request = { model: 'tiny', max_tokens: 1, ...apis.chat.body(order, true) }
    return (await (await ask(other, request, { key })).json()).usage.foretoken.placed_tokens
  }
  expect(await asked(testKeys.one, [0, 2])).toBeUndefined()
  await fresh.keepChunks()
  expect(await asked(testKeys.two, [2, 0])).toBeUndefined()
  expect(await asked(testKeys.one, [2, 0])).toBeGreaterThan(100)
  await fresh.close()
})

describe('paragraphs', () => {
  const text = (order: readonly number[]) => `${order.map((index) => documents[index]).join('\n\n')}\n\n${question}`
  const auto = { foretoken: { chunks: 'auto' } }
  const ways: Record<string, [path: string, body: (order: readonly number[]) => object]> = {
    chat: ['/v1/chat/completions', (order) => ({ messages: [{ role: 'user', content: text(order) }], max_tokens: 4 })],
    messages: ['/v1/messages', (order) => ({ messages: [{ role: 'user', content: text(order) }], max_tokens: 4 })],
    responses: ['/v1/responses', (order) => ({ input: text(order), max_output_tokens: 4, store: false })],
    completions: ['/v1/completions', (order) => ({ prompt: text(order), max_tokens: 4 })],
  }

  test.each(Object.entries(ways))('of %s that come again are placed, if that is asked for', async (_, [path, body]) => {
    const fresh = await tinyEngine({ schedule: { refineMs: 0 }, prefixBytes: 0 })
    const other = createApp({ engine: fresh, config: testConfig })
    const placed = async (order: readonly number[], more: object) => {
      const request = { model: 'tiny', temperature: 0, ...body(order), ...more }
      const response = await ask(other, request, { path, key: testKeys.one })
      const said = await response.text()
      expect(response.status, said).toBe(200)
      await fresh.keepChunks()
      return JSON.parse(said).usage.foretoken.placed_tokens
    }
    expect(await placed([0, 1], auto)).toBeUndefined()
    expect(await placed([1, 2, 0], auto)).toBeUndefined()
    expect(await placed([0, 2, 1], {})).toBeUndefined()
    expect(await placed([0, 2, 1], auto)).toBe(documents[0]!.length + documents[1]!.length - 16)
    await fresh.close()
  })

  test('are not found in token ids, and no other value is taken', async () => {
    const status = async (path: string, body: object) =>
      (await ask(app, { model: 'tiny', max_tokens: 1, ...body }, { path })).status
    expect(await status('/v1/completions', { prompt: [1, 2, 3], ...auto })).toBe(400)
    const messages = [{ role: 'user', content: 'x' }]
    expect(await status('/v1/chat/completions', { messages, foretoken: { chunks: true } })).toBe(400)
    expect(await status('/v1/messages', { messages, foretoken: { chunks: 'all' } })).toBe(400)
  })
})

test('what is not a mark is refused, and auto needs a predictor', async () => {
  const marked = (foretoken: object) => ({
    messages: [{ role: 'user', content: [{ type: 'text', text: documents[0], foretoken }] }],
  })
  const status = async (body: object) =>
    (await ask(app, { model: 'tiny', max_tokens: 1, ...body }, { path: apis.chat.path })).status
  expect(await status(marked({ chunks: 'yes' }))).toBe(400)
  expect(await status(marked({ chunk: true }))).toBe(400)
  expect(await status({ ...marked({ chunks: true }), foretoken: { prefill: 'auto' } })).toBe(400)
  expect(await status({ ...marked({ chunks: true }), foretoken: { prefill: 'predicted' } })).toBe(200)
})
