/** The app with companions: ways in headers, logs and metrics; what a config may not say. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { createCompanion } from '../../companion/app.ts'
import { configOf } from '../../edge/config.ts'
import { createApp, type LogLine, type ServerConfig } from '../../edge/index.ts'
import { routeHeader } from '../../edge/route/header.ts'
import { type Engine, type Fetch, keyBytes } from '../../src/index.ts'
import { ask, chatBody } from '../helpers/ask.ts'
import { testConfig, tinyEngine } from '../helpers/tiny-server.ts'

const key = 'ab'.repeat(32)
let engine: Engine
let mac: Engine
beforeAll(async () => {
  engine = await tinyEngine()
  mac = await tinyEngine()
})
afterAll(() => Promise.all([engine.close(), mac.close()]))

function edge(route: ServerConfig['route'], fetch: Fetch) {
  const lines: LogLine[] = []
  const companions = [{ url: 'http://mac.test:8788', key }]
  const config = { ...testConfig, companions, ...(route && { route }) }
  return { app: createApp({ engine, config, fetch, onRequest: (line) => lines.push(line) }), lines }
}

function reachable(): Fetch {
  const companion = createCompanion({ engine: mac, edges: [{ id: 'edge', key: keyBytes(key) }] })
  return async (input, init) => companion.fetch(new Request(input, { ...init, duplex: 'half' } as RequestInit))
}

/** On any route, only the prefix cache holds pages afterwards. */
async function given() {
  for (let tries = 0; tries < 200 && mac.stats.running + mac.stats.waiting > 0; tries++)
    await new Promise((resolve) => setTimeout(resolve, 5))
  for (const { stats } of [engine, mac])
    expect(stats).toMatchObject({ running: 0, waiting: 0, pages_in_use: stats.prefix_pages })
}

let asked = 0
const body = (change: object = {}) =>
  chatBody({ messages: [{ role: 'user', content: `${asked++} ${'some words of a prompt '.repeat(12)}` }], ...change })

test.each(['remote', 'relay', 'race', 'local'] as const)('%s: reported in header, log and metrics', async (always) => {
  const { app, lines } = edge({ always }, reachable())
  for (const stream of [false, true]) {
    const response = await ask(app, body({ stream }))
    expect(response.headers.get('x-foretoken-route')).toMatch(
      always === 'local'
        ? /^local;predicted=[\d.]+;actual=[\d.]+(;[a-z]+=[\d.]+)+$/
        : new RegExp(`^${always};companion="mac.test:8788";predicted=[\\d.]+;actual=[\\d.]+(;[a-z]+=[\\d.]+)+$`),
    )
    await response.text()
  }
  expect(lines).toHaveLength(2)
  await given()
  for (const line of lines) {
    expect(line.way).toBe(always)
    expect(line.predicted_ms).toBeGreaterThan(0)
    expect(line.fell_back).toBeUndefined()
  }
  const text = await (await ask(app, undefined, { path: '/metrics' })).text()
  expect(text).toContain(`foretoken_routes_total{way="${always}",fell_back="no"} 2`)
  expect(text).toContain(`foretoken_route_ttft_seconds_count{way="${always}"} 2`)
  expect(text).toContain('foretoken_companion_up{companion="mac.test:8788"} 1')
})

test('an unreachable companion: the request is answered locally and counted, and the companion is left alone', async () => {
  const nobody: Fetch = async () => {
    throw new TypeError('connection refused')
  }
  const { app, lines } = edge({ always: 'remote' }, nobody)
  const response = await ask(app, body())
  expect(response.status).toBe(200)
  await response.text()
  const again = await ask(app, body())
  expect(again.headers.get('x-foretoken-route')).toMatch(/^local;/)
  const text = await (await ask(app, undefined, { path: '/metrics' })).text()
  expect(text).toContain('foretoken_companion_up{companion="mac.test:8788"} 0')
  expect(lines.map(({ way }) => way).slice(0, 2)).toEqual([expect.stringMatching(/^(local|remote)$/), 'local'])
})

test('two answers to one prompt: the second finds it in the prefix cache', async () => {
  const { app } = edge({ always: 'remote' }, reachable())
  const before = mac.stats.prefill_tokens
  const response = await ask(app, body({ n: 2 }))
  const { choices, usage } = await response.json()
  expect(choices).toHaveLength(2)
  expect(mac.stats.prefill_tokens - before).toBeLessThan(usage.prompt_tokens)
})

test('without companions there is no such header', async () => {
  const app = createApp({ engine, config: testConfig })
  expect((await ask(app, body())).headers.has('x-foretoken-route')).toBe(false)
})

test.each<[string, object, string]>([
  ['no address', { url: 'mac', key }, 'companions.0.url'],
  ['a name and password in it', { url: 'https://a:b@mac.test', key }, 'companions.0.url'],
  ['a file', { url: 'file:///etc/passwd', key }, 'companions.0.url'],
  ['a short key', { url: 'https://mac.test', key: 'secret' }, 'companions.0.key'],
  ['a name that would break a header', { url: 'https://mac.test', key, name: 'a"\r\nb' }, 'companions.0.name'],
])('an invalid config is refused: %s', (_, companion, where) => {
  const config = () => configOf({ listen: 'loopback', companions: [companion as never] })
  expect(config).toThrow(where)
  expect(config).not.toThrow('secret')
})

test('the header is a structured field for any numbers', () => {
  const header = routeHeader({
    way: 'race',
    companion: 'mac',
    predicted_ms: Number.POSITIVE_INFINITY,
    considered: { local: -1, race: 3 },
    fell_back: 'remote: "it" said\r\nx',
  })
  expect(header).toEqual({ 'x-foretoken-route': 'race;companion="mac";fell-back;predicted=999999999999.0;local=0.0' })
  expect(routeHeader(undefined)).toEqual({})
})
