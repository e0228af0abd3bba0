/** Clients as their users call them, on a local socket: chat, stream, second turn, error, cancel; and what they sent, sent once more. */

import { createOpenAI } from '@ai-sdk/openai'
import { generateText, type ModelMessage } from 'ai'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { testKeys } from '../helpers/tiny-server.ts'
import { javascriptClients, type Turn } from '../suites/clients/javascript.ts'
import { RecordingServer } from '../suites/clients/recorded.ts'
import { shapes } from '../suites/clients/shapes.ts'

let server: RecordingServer
beforeAll(async () => {
  server = await RecordingServer.start()
})
afterAll(() => server?.close())

const question: Turn = { role: 'user', content: 'What is this?' }
const names = javascriptClients('http://localhost', 'x').map(({ name }) => name)

describe.each(names)('%s', (name) => {
  const client = () => javascriptClients(server.url, testKeys.one).find((one) => one.name === name)!
  const begin = () => void (server.sent.length = 0)
  const replayed = async () => {
    expect(server.sent.length).toBeGreaterThan(0)
    for (const request of server.sent.slice()) expect(await server.replay(request)).toBe(request.status)
  }

  test('a chat, its stream, and a second turn with the first answer', async () => {
    begin()
    const whole = await client().chat([question])
    expect(whole).not.toBe('')
    let streamed = ''
    for await (const text of client().stream([question], 24)) streamed += text
    expect(streamed).toBe(whole)
    const turns: Turn[] = [question, { role: 'assistant', content: whole }, { role: 'user', content: 'And that?' }]
    expect(await client().chat(turns)).not.toBe('')
    expect(server.sent.map(({ status }) => status)).toEqual([200, 200, 200])
    await replayed()
  })

  test('an error arrives in its own format', async () => {
    begin()
    await expect(client().chat([question], 'unknown')).rejects.toThrow(/there is no model|404/)
    await replayed()
  })

  test('an abandoned stream frees its resources', async () => {
    const stop = new AbortController()
    try {
      for await (const text of client().stream([question], 900, stop.signal)) if (text !== '') stop.abort()
    } catch {
      // Most throw.
    }
    expect(stop.signal.aborted).toBe(true)
    await server.idle()
  })
})

test('ai: a second turn with items of the first needs store: false, and the refusal says so', async () => {
  const model = createOpenAI({ baseURL: `${server.url}/v1`, apiKey: testKeys.one })('tiny')
  const given = { model, temperature: 0, maxOutputTokens: 8, maxRetries: 0 }
  const first = await generateText({ ...given, prompt: 'What is this?' })
  const messages: ModelMessage[] = [question, ...first.response.messages, { role: 'user', content: 'And that?' }]
  await expect(generateText({ ...given, messages })).rejects.toThrow(/send every message with its text.*store: false/)
  const whole = await generateText({ ...given, messages, providerOptions: { openai: { store: false } } })
  expect(whole.text).not.toBe('')
})

test.each(['/chat/completions', '/v1/v1/chat/completions', '/completions', '/v1/nothing'])(
  '%s: 404 says where the routes are',
  async (path) => {
    const headers = { authorization: `Bearer ${testKeys.one}`, 'content-type': 'application/json' }
    const response = await fetch(server.url + path, { method: 'POST', headers, body: '{}' })
    expect(response.status).toBe(404)
    expect((await response.json()).error.message).toContain('/v1')
  },
)

describe.each(shapes)('$client', ({ path, headers, body, ignored, stream }) => {
  const send = (change: object = {}, signal?: AbortSignal) =>
    fetch(server.url + path, {
      method: 'POST',
      headers: { authorization: `Bearer ${testKeys.one}`, 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ ...body, ...change }),
      ...(signal && { signal }),
    })

  test('is answered, whole and streamed, and told which fields were ignored', async () => {
    const streamed = await send()
    expect(streamed.status).toBe(200)
    expect(streamed.headers.get('x-foretoken-ignored')).toBe(ignored)
    expect(await streamed.text()).toContain(stream ? '[DONE]' : 'choices')
    expect((await send({ stream: false, stream_options: null })).status).toBe(200)
  })

  test('is told of an unknown model, and may disconnect', async () => {
    expect((await send({ model: 'unknown' })).status).toBe(404)
    const stop = new AbortController()
    const response = await send({ max_tokens: 900, stream: true, stop: null }, stop.signal)
    await response.body!.getReader().read()
    stop.abort()
    await server.idle()
  })
})
