/**
 * Tests when parts of a stream are written, and how a stream ends that fails or whose client
 * disconnects.
 */
import { getEventListeners } from 'node:events'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createApp, type LogLine, type ServerConfig } from '../../edge/index.ts'
import type { App } from '../../edge/server.ts'
import { type Engine, ForetokenError } from '../../src/index.ts'
import { ask, chatBody, chatPath, refusal } from '../helpers/ask.ts'
import { testConfig, testKeys, tinyEngine } from '../helpers/tiny-server.ts'

let engine: Engine
beforeAll(async () => {
  engine = await tinyEngine({ passTokens: 32 })
})
afterAll(() => engine.close())

const appWith = (config: ServerConfig = {}) => createApp({ engine, config: { ...testConfig, ...config } })
const streamed = (change: object = {}) => chatBody({ stream: true, ...change })

/** Data of all events. */
async function events(response: Response) {
  const text = await response.text()
  const data = text.split('\n\n').flatMap((frame) => /^data: (.*)$/m.exec(frame)?.[1] ?? [])
  return {
    text,
    data: data.filter((one) => one !== '[DONE]').map((one) => JSON.parse(one)),
    ended: data.at(-1) === '[DONE]',
  }
}

const pagesFree = () => {
  const { running, waiting, pages_in_use, prefix_pages } = engine.stats
  return running === 0 && waiting === 0 && pages_in_use === prefix_pages
}

test('a client that disconnects frees its pages within one step', async () => {
  const app = appWith()
  const response = await ask(app, streamed({ max_tokens: 900 }))
  const reader = response.body!.getReader()
  await reader.read()
  expect(engine.stats.running).toBe(1)
  const { passes } = engine.stats
  await reader.cancel()
  // The step that was being made, and none after it.
  for (let turn = 0; turn < 50 && !pagesFree(); turn++) await new Promise((resolve) => setTimeout(resolve, 5))
  expect(pagesFree()).toBe(true)
  expect(engine.stats.passes - passes).toBeLessThanOrEqual(2)
})

test('a client that disconnects while its prompt is read, streaming or not', async () => {
  const app = appWith()
  for (const stream of [true, false]) {
    const leave = new AbortController()
    const prompt = [{ role: 'user', content: `${stream}${'p'.repeat(700)}` }]
    const asked = ask(app, chatBody({ stream, messages: prompt }), { signal: leave.signal })
    while (engine.stats.running === 0) await new Promise((resolve) => setImmediate(resolve))
    leave.abort()
    expect((await asked).status).toBe(499)
    expect(pagesFree()).toBe(true)
  }
})

test('other requests continue when one disconnects', async () => {
  const app = appWith()
  const alone = (await events(await ask(app, streamed({ max_tokens: 40 })))).data
  const [leaver, stayer] = await Promise.all([
    ask(app, streamed({ max_tokens: 400, messages: [{ role: 'user', content: 'another' }] })),
    ask(app, streamed({ max_tokens: 40 })),
  ])
  const rest = events(stayer)
  await leaver.body!.cancel()
  const content = (chunks: { choices: { delta: { content?: string } }[] }[]) =>
    chunks.map(({ choices }) => choices[0]?.delta.content ?? '').join('')
  expect(content((await rest).data)).toBe(content(alone))
})

test('every frame is complete UTF-8', async () => {
  const response = await ask(appWith(), streamed({ temperature: 2, seed: 3, max_tokens: 300 }))
  const decoder = new TextDecoder('utf-8', { fatal: true })
  for await (const bytes of response.body!) decoder.decode(bytes)
})

test('a stream gives prompt progress, then the answer, then how it was computed', async () => {
  const messages = [{ role: 'user', content: 'q'.repeat(200) }]
  const { data, ended } = await events(await ask(appWith(), streamed({ messages, foretoken: { progress: true } })))
  const progress = data.flatMap(({ foretoken }) => foretoken?.progress ?? [])
  expect(progress.length).toBeGreaterThan(2)
  expect(progress.at(-1).done).toBe(progress.at(-1).total)
  expect(progress.map(({ done }) => done)).toEqual(progress.map(({ done }) => done).toSorted((a, b) => a - b))
  expect(data.at(-1).foretoken).toMatchObject({ prefill: 'exact', timings: { ttft_ms: expect.any(Number) } })
  expect(ended).toBe(true)
})

test('comments keep a stream open while its prompt is read, and headers wait no longer than that', async () => {
  const app = appWith({ keepAliveSeconds: 0.001 })
  const response = await ask(app, streamed({ messages: [{ role: 'user', content: 'k'.repeat(900) }] }))
  expect(response.headers.get('x-foretoken-prefill')).toBeNull()
  const { text, data, ended } = await events(response)
  expect(text).toMatch(/^: keep-alive\n\n/)
  expect(data.at(-1).foretoken.prefill).toBe('exact')
  expect(ended).toBe(true)
})

test('the time of a request is limited: a status before the first byte, an error in the stream after it', async () => {
  const lines: LogLine[] = []
  const config = { ...testConfig, limits: { requestSeconds: 0.05 } }
  const app = createApp({ engine, config, onRequest: (line) => lines.push(line) })
  const whole = await ask(app, chatBody({ max_tokens: 900 }))
  expect(whole.headers.get('x-should-retry')).toBe('false')
  expect(await refusal(whole)).toMatchObject({ status: 504, code: 'timeout' })
  const early = createApp({ engine, config: { ...config, keepAliveSeconds: 0.001 } })
  const { data, ended } = await events(await ask(early, streamed({ max_tokens: 900 })))
  expect(data.at(-1).error.code).toBe('timeout')
  expect(ended).toBe(false)
  expect(pagesFree()).toBe(true)
  expect(lines[0]).toMatchObject({ status: 504, aborted: 'timeout' })
})

test('a client that stops reading is disconnected', async () => {
  const app = appWith({ limits: { stallSeconds: 0.05, concurrency: 1 } })
  const response = await ask(app, streamed({ max_tokens: 900 }))
  const reader = response.body!.getReader()
  await reader.read()
  while (!pagesFree()) await new Promise((resolve) => setTimeout(resolve, 10))
  await expect(
    (async () => {
      while (!(await reader.read()).done);
    })(),
  ).rejects.toThrow('reads no more')
  expect((await ask(app, chatBody())).status).toBe(200)
})

test('an answered request leaves no listener: hosts keep what is listened to', async () => {
  const app = appWith()
  for (const stream of [true, false]) {
    const request = new Request(`http://app.test${chatPath}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${testKeys.one}` },
      body: JSON.stringify(chatBody({ stream })),
    })
    const response = await app.fetch(request)
    if (stream) expect(getEventListeners(request.signal, 'abort')).toHaveLength(1)
    await response.text()
    expect(getEventListeners(request.signal, 'abort')).toHaveLength(0)
  }
})

test('the first request loads the model; a failed load is reported and retried', async () => {
  let tries = 0
  const load = async () => {
    if (++tries === 1) throw new ForetokenError('network', 'https://internal.example/weights did not answer')
    return engine
  }
  const app: App = createApp({ engine: load, config: testConfig })
  const ready = async () => (await ask(app, undefined, { path: '/readyz', key: '' })).status
  expect(await ready()).toBe(503)
  const failed = await ask(app, chatBody())
  expect(failed.headers.get('retry-after')).toBe('5')
  const told = await refusal(failed)
  expect(told).toMatchObject({ status: 503, code: 'model_not_loaded' })
  expect(told.message).not.toContain('internal.example')
  const both = await Promise.all([ask(app, chatBody()), ask(app, chatBody())])
  expect(both.map(({ status }) => status)).toEqual([200, 200])
  expect(tries).toBe(2)
  expect(await ready()).toBe(200)
})

test('a stopping server finishes running requests and begins none', async () => {
  const drain = new AbortController()
  const app = createApp({ engine, config: testConfig, drain: drain.signal })
  const running = await ask(app, streamed({ max_tokens: 30 }))
  drain.abort()
  expect(await refusal(await ask(app, chatBody()))).toMatchObject({ status: 503, code: 'stopping' })
  expect((await ask(app, undefined, { path: '/readyz' })).status).toBe(503)
  expect((await events(running)).ended).toBe(true)
})
