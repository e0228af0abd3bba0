/** Corrections over HTTP: whole answers hold them, and streams end with them, in every API. */
import Anthropic from '@anthropic-ai/sdk'
import OpenAI from 'openai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { messagesEvent } from '../../edge/anthropic/answer-schemas.ts'
import { createApp } from '../../edge/index.ts'
import { report } from '../../edge/schemas/common.ts'
import type { App } from '../../edge/server.ts'
import { loadWasm } from '../../node/index.ts'
import { Engine, memorySource } from '../../src/index.ts'
import { writePredictor } from '../../src/predict/file.ts'
import { ask } from '../helpers/ask.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { tinyPlan, tinyPredictor } from '../helpers/tiny-predictor.ts'
import { testConfig, testKeys } from '../helpers/tiny-server.ts'

/** An answer, or a part of one, whose fields the tests look up. */
// biome-ignore lint/suspicious/noExplicitAny: five APIs have five shapes
type Json = any

let engine: Engine
let app: App
/** All layers but the first two are predicted wrongly, so that every answer departs. */
beforeAll(async () => {
  const files = tinyFiles({ layers: 7, context: 1024 })
  const wasm = await loadWasm('simd128', 1)
  const plain = await Engine.load(files, { wasm, threads: 1 })
  const file = tinyPredictor(plain.identity, { plan: { ...tinyPlan, runs: [], taps: [1] } })
  await plain.close()
  const predictor = memorySource('predictor', await writePredictor(file))
  engine = await Engine.load(files, { wasm, threads: 1, prefixBytes: 0, predictor })
  app = createApp({ engine, config: testConfig })
})
afterAll(() => engine.close())

const text = 'The notes tell of a mill, a harbour and a bridge, and of what was left there in the autumn.'
const messages = [{ role: 'user' as const, content: text }]
const refined = { prefill: 'refined', verify: true }

/** The forms of a request, and where a whole answer and the pieces of a stream have their text. */
const forms = {
  chat: {
    path: '/v1/chat/completions',
    body: { messages, max_tokens: 12, logprobs: true },
    whole: (answer: Json) => answer.choices[0].message.content,
    usage: (answer: Json) => answer.usage,
  },
  completions: {
    path: '/v1/completions',
    body: { prompt: text, max_tokens: 12, logprobs: 2 },
    whole: (answer: Json) => answer.choices[0].text,
    usage: (answer: Json) => answer.usage,
  },
  responses: {
    path: '/v1/responses',
    body: { input: text, max_output_tokens: 12 },
    whole: (answer: Json) => answer.output[0].content[0].text,
    usage: (answer: Json) => answer.usage,
  },
  messages: {
    path: '/v1/messages',
    body: { messages, max_tokens: 12 },
    whole: (answer: Json) => answer.content[0].text,
    usage: (answer: Json) => answer.usage,
  },
  ollama: {
    path: '/api/chat',
    body: { messages, options: { num_predict: 12, temperature: 0 }, stream: false },
    whole: (answer: Json) => answer.message.content,
    usage: (answer: Json) => answer,
  },
}
const names = Object.keys(forms) as (keyof typeof forms)[]

async function answered(name: keyof typeof forms, change: object): Promise<Json> {
  const { path, body } = forms[name]
  const response = await ask(app, { model: 'tiny', temperature: 0, ...body, ...change }, { path })
  const said = await response.text()
  expect(response.status, said).toBe(200)
  return JSON.parse(said)
}

/** Reads a stream of server-sent events or of lines. */
async function streamed(name: keyof typeof forms, foretoken: object): Promise<Json[]> {
  const { path, body } = forms[name]
  const usage = name === 'chat' || name === 'completions' ? { stream_options: { include_usage: true } } : {}
  const response = await ask(
    app,
    { model: 'tiny', temperature: 0, ...body, ...usage, stream: true, foretoken },
    { path },
  )
  const said = await response.text()
  expect(response.status, said).toBe(200)
  const lines = name === 'ollama' ? said.split('\n') : said.split('\n').map((line) => line.replace(/^data: /, ''))
  return lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line))
}

/** Returns the text of what a stream showed before its correction. */
function shownIn(name: keyof typeof forms, events: Json[]): string {
  const pieces = events.map((event) => {
    if (name === 'chat') return event.choices[0]?.delta?.content
    if (name === 'completions') return event.choices[0]?.text
    if (name === 'responses') return event.type === 'response.output_text.delta' ? event.delta : ''
    if (name === 'messages') return event.type === 'content_block_delta' ? event.delta.text : ''
    return event.message?.content
  })
  return pieces.map((piece) => piece ?? '').join('')
}

function scoresFrom({ content }: Json, from: number): Json {
  return content.slice(from)
}

function correctionIn(events: Json[]): Json {
  const found = events.filter((event) => event.foretoken?.correction ?? event.type === 'foretoken.correction')
  expect(found.length).toBeLessThanOrEqual(1)
  return found[0]?.foretoken?.correction ?? found[0]
}

describe.each(names)('%s', (name) => {
  const { whole, usage } = forms[name]

  test('a whole answer is the corrected one, and tells so', async () => {
    const exact = await answered(name, {})
    const got = await answered(name, { foretoken: { prefill: 'refined' } })
    expect(whole(got)).toBe(whole(exact))
    expect(report.parse(usage(got).foretoken)).toMatchObject({
      prefill: 'refined',
      verified: expect.any(Number),
    })
    expect(usage(exact).foretoken).not.toHaveProperty('verified')
    // From the correction on, log-probabilities are those of exact K and V, too.
    const from = usage(got).foretoken.verified
    if (name === 'chat')
      expect(scoresFrom(got.choices[0].logprobs, from)).toEqual(scoresFrom(exact.choices[0].logprobs, from))
    const kept = await answered(name, { foretoken: { prefill: 'refined', verify: false } })
    expect(whole(kept)).not.toBe(whole(exact))
    expect(usage(kept).foretoken.verified).toBe(usage(got).foretoken.verified)
  })

  test('a stream that asks for it ends with the correction, before its usage', async () => {
    const exact = await answered(name, {})
    const events = await streamed(name, refined)
    const correction = correctionIn(events)
    const shown = shownIn(name, events)
    expect(shown.slice(0, correction.offset) + correction.text).toBe(whole(exact))
    const place = events.findIndex((event) => event.foretoken?.correction ?? event.type === 'foretoken.correction')
    const text = JSON.stringify(events.slice(place + 1))
    expect(text).toContain(`"verified":${correction.token}`)
    expect(JSON.stringify(events.slice(0, place))).not.toContain('"verified"')
    if (name === 'chat') expect(correction.message.content).toBe(whole(exact))
    const { token: from } = correction
    if (name === 'chat')
      expect(scoresFrom(correction.logprobs, from)).toEqual(scoresFrom(exact.choices[0].logprobs, from))
    if (name === 'completions') expect(correction.logprobs.tokens).toEqual(exact.choices[0].logprobs.tokens)
    if (name === 'responses') expect(whole(events.at(-1).response)).toBe(whole(exact))
    if (name === 'messages') {
      expect(correction.content[0].text).toBe(whole(exact))
      for (const event of events) if (event.type !== 'ping') messagesEvent.parse(event)
    }
    if (name === 'ollama') expect(correction.message.content).toBe(whole(exact))
  })

  test('any other stream goes on as it began, and tells which token was wrong', async () => {
    const events = await streamed(name, { prefill: 'refined' })
    expect(correctionIn(events)).toBeUndefined()
    expect(JSON.stringify(events.at(name === 'messages' ? -2 : -1))).toMatch(/"verified":\d/)
    expect(shownIn(name, events)).not.toBe('')
  })

  test('without prediction there is nothing to correct', async () => {
    expect(correctionIn(await streamed(name, { verify: true }))).toBeUndefined()
  })
})

test('verify needs a cache that is made exact, and is a boolean', async () => {
  for (const foretoken of [
    { prefill: 'predicted', verify: true },
    { prefill: 'refined', verify: 'yes' },
  ]) {
    const response = await ask(app, { model: 'tiny', messages, max_tokens: 2, foretoken })
    expect(response.status).toBe(400)
    expect((await response.json()).error.message).toContain('verify')
  }
})

test('each of several choices has its own correction', async () => {
  const body = { model: 'tiny', messages, max_tokens: 8, temperature: 1, seed: 4, n: 3, foretoken: refined }
  const whole = await (await ask(app, body)).json()
  expect(whole.choices).toHaveLength(3)
  const response = await ask(app, { ...body, stream: true })
  const lines = (await response.text()).split('\n').filter((line) => line.startsWith('data: {'))
  const corrections = lines.flatMap((line) => JSON.parse(line.slice(6)).foretoken?.correction ?? [])
  expect(new Set(corrections.map(({ index }) => index)).size).toBe(corrections.length)
  expect(corrections.length).toBeGreaterThan(0)
})

describe('clients that know nothing of corrections', () => {
  const fetch = async (url: RequestInfo | URL, init?: RequestInit) => app.fetch(new Request(url, init))

  test('read the stream of a chat to its end', async () => {
    const client = new OpenAI({ apiKey: testKeys.one, baseURL: 'http://app.test/v1', fetch })
    const stream = client.chat.completions.stream({
      model: 'tiny',
      messages,
      max_tokens: 8,
      temperature: 0,
      ...({ foretoken: refined } as object),
    })
    expect((await stream.finalChatCompletion()).choices[0]!.finish_reason).toBe('length')
  })

  test('read the stream of a message to its end', async () => {
    const client = new Anthropic({ apiKey: testKeys.one, baseURL: 'http://app.test', fetch })
    const stream = client.messages.stream({
      model: 'tiny',
      messages,
      max_tokens: 8,
      temperature: 0,
      ...({ foretoken: refined } as object),
    })
    expect((await stream.finalMessage()).stop_reason).toBe('max_tokens')
  })
})

test('a client that leaves while its answer is checked frees it', async () => {
  const control = new AbortController()
  const body = { model: 'tiny', messages, max_tokens: 4, temperature: 0, stream: true, foretoken: refined }
  const response = await ask(app, body, { signal: control.signal })
  const reader = response.body!.getReader()
  await reader.read()
  await reader.cancel()
  control.abort()
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(engine.stats).toMatchObject({ running: 0, waiting: 0, pages_in_use: 0 })
})
