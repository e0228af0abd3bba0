/** A server counts and logs enough to be operated, and no content of requests. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createApp, type LogLine } from '../../edge/index.ts'
import { HistogramSet } from '../../edge/metrics/registry.ts'
import { logLine } from '../../edge/record.ts'
import type { Engine } from '../../src/index.ts'
import { ask, chatBody } from '../helpers/ask.ts'
import { testConfig, testKeys, tinyEngine } from '../helpers/tiny-server.ts'

let engine: Engine
beforeAll(async () => {
  engine = await tinyEngine()
})
afterAll(() => engine.close())

test('metrics count and time the requests made', async () => {
  const lines: LogLine[] = []
  const app = createApp({ engine, config: testConfig, onRequest: (line) => lines.push(line) })
  const prompt = [{ role: 'user', content: 'a prompt of more than one page of tokens' }]
  for (const stream of [false, true]) await (await ask(app, chatBody({ messages: prompt, stream }))).text()
  await ask(app, chatBody({ tools: [{}] }))
  await ask(app, chatBody(), { key: 'wrong' })
  await (await ask(app, chatBody({ stream: true, max_tokens: 500 }))).body!.cancel()

  const page = await ask(app, undefined, { path: '/metrics' })
  expect(page.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
  const text = await page.text()
  const value = (name: string) =>
    Number(
      text
        .split('\n')
        .find((line) => line.startsWith(`${name} `))
        ?.split(' ')[1],
    )
  const chat = (status: number) => value(`foretoken_requests_total{route="/v1/chat/completions",status="${status}"}`)
  expect([chat(200), chat(400), chat(401)]).toEqual([3, 1, 1])
  expect(value('foretoken_refusals_total{code="invalid_api_key"}')).toBe(1)
  expect(value('foretoken_aborts_total{by="gone"}')).toBe(1)
  expect(value('foretoken_tokens_total{kind="completion"}')).toBe(8)
  expect(value('foretoken_tokens_total{kind="cached"}')).toBeGreaterThan(31)
  for (const name of ['ttft', 'queue', 'prefill'])
    expect(value(`foretoken_${name}_seconds_count{prefill="exact"}`), name).toBe(2)
  expect(value('foretoken_inter_token_seconds_bucket{prefill="exact",le="+Inf"}')).toBeGreaterThanOrEqual(6)
  expect(value('foretoken_kv_pages_in_use')).toBe(value('foretoken_prefix_pages'))
  expect(value('foretoken_answers')).toBe(0)
  const parts = ['weights', 'pools', 'tables', 'free'].map((part) => value(`foretoken_memory_bytes{part="${part}"}`))
  expect(parts.reduce((sum, bytes) => sum + bytes, 0)).toBe(value('foretoken_wasm_bytes'))
  expect(parts[1]).toBeGreaterThanOrEqual(value('foretoken_kv_pages_in_use') * engine.pageBytes)
  // Every line is a comment or `name{labels} number`.
  for (const line of text.trimEnd().split('\n'))
    expect(line).toMatch(/^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{([a-z]+="[^"\n]*",?)+\})? -?[\d.e+-]+)$/)

  expect(lines.slice(0, 5).map(({ status, stream, code, aborted }) => [status, stream, code ?? aborted])).toEqual([
    [200, false, undefined],
    [200, true, undefined],
    [400, false, 'unsupported_value'],
    [401, false, 'invalid_api_key'],
    [200, true, 'gone'],
  ])
  expect(lines[1]).toMatchObject({ caller: 'one', model: 'tiny', completion_tokens: 4, prefill: 'exact' })
})

test('the log holds no prompt, answer, key, or address', async () => {
  const lines: LogLine[] = []
  const app = createApp({ engine, config: testConfig, onRequest: (line) => lines.push(line) })
  const secret = 'SECRETWORD'
  await ask(app, chatBody({ messages: [{ role: 'user', content: secret }] }))
  await ask(app, chatBody({ model: secret, user: secret }))
  await ask(app, { [secret]: 1 })
  await ask(app, undefined, { raw: `{"${secret}` })
  await ask(app, undefined, { path: `/v1/${secret}?key=${secret}` })
  await ask(app, undefined, { path: `/v1/models/${secret}` })
  await ask(app, chatBody(), { key: secret })
  expect(lines).toHaveLength(7)
  const text = JSON.stringify(lines) + (await (await ask(app, undefined, { path: '/metrics' })).text())
  for (const hidden of [secret, ...Object.values(testKeys)]) expect(text).not.toContain(hidden)
})

test('a server error is written to the log and not sent to the client', async () => {
  const lines: LogLine[] = []
  const broken = Object.create(engine, {
    submit: {
      value() {
        throw new Error('no such file: /home/me/weights')
      },
    },
    prepare: { value: engine.prepare.bind(engine) },
    archive: { value: engine.archive },
    context: { value: engine.context },
    prediction: { value: undefined },
  }) as Engine
  const app = createApp({ engine: broken, config: testConfig, onRequest: (line) => lines.push(line) })
  const response = await ask(app, chatBody())
  expect(response.status).toBe(500)
  expect(await response.text()).not.toContain('/home/me')
  expect(lines[0]).toMatchObject({ status: 500, code: 'internal', cause: expect.stringContaining('/home/me') })
})

test('histogram buckets are cumulative', () => {
  const set = new HistogramSet('t', 'test', [1, 2, 5])
  for (const value of [0.5, 1, 1.5, 9]) set.observe(value, { kind: 'a "b"' })
  expect(set.lines()).toEqual([
    '# HELP t test',
    '# TYPE t histogram',
    't_bucket{kind="a \\"b\\"",le="1"} 2',
    't_bucket{kind="a \\"b\\"",le="2"} 3',
    't_bucket{kind="a \\"b\\"",le="5"} 3',
    't_bucket{kind="a \\"b\\"",le="+Inf"} 4',
    't_sum{kind="a \\"b\\""} 12',
    't_count{kind="a \\"b\\""} 4',
  ])
})

test('a log line cannot control the terminal on which it is read', () => {
  const text = 'a\u001b[2J\u009b31m\u007f\u202e\u2028\u200b\ud800 ü 漢 😀'
  const begun = { id: 'req', begun: 0, method: 'GET', route: '/', status: 500, streaming: false }
  const { cause, fell_back } = logLine({ ...begun, cause: text, fell_back: 'x'.repeat(5000) })
  expect(cause).toBe('a\\u{001b}[2J\\u{009b}31m\\u{007f}\\u{202e}\\u{2028}\\u{200b}\\u{d800} ü 漢 😀')
  expect(String(fell_back).length).toBe(301)
})
