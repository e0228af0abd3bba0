/** Tests keys, origins and limits, and that nothing leaks from one tenant to another. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createApp, type ServerConfig } from '../../edge/index.ts'
import type { Engine } from '../../src/index.ts'
import { ask, chatBody, refusal } from '../helpers/ask.ts'
import { sha256, testConfig, testKeys, tinyEngine } from '../helpers/tiny-server.ts'

let engine: Engine
beforeAll(async () => {
  engine = await tinyEngine()
})
afterAll(() => engine.close())

const appWith = (config: ServerConfig) => createApp({ engine, config })
const open: ServerConfig = { listen: 'loopback' }

describe('impossible configs', () => {
  test.each<[string, ServerConfig, RegExp]>([
    ['public without keys', {}, /needs keys/],
    ['a key instead of its hash', { keys: [{ sha256: 'sk-secret' }] }, /keys\.0\.sha256.*SHA-256/],
    ['an origin with a path', { ...open, origins: ['https://a.example/x'] }, /origins\.0/],
    ['a limit of nothing', { ...open, limits: { bodyBytes: 0 } }, /limits\.bodyBytes/],
    ['a field of no meaning', { ...open, colour: 1 } as ServerConfig, /colour/],
  ])('%s', (_, config, message) => expect(() => appWith(config)).toThrow(message))
})

describe('keys', () => {
  const app = () => appWith(testConfig)

  test.each(['', 'wrong', testKeys.one.toUpperCase(), `${testKeys.one}x`])(
    '"%s" is refused everywhere',
    async (key) => {
      for (const path of ['/v1/models', '/metrics', '/openapi.json', '/v1/nothing']) {
        const response = await ask(app(), undefined, { path, key })
        expect(response.headers.get('www-authenticate')).toBe('Bearer')
        expect(await refusal(response)).toMatchObject({ status: 401, code: 'invalid_api_key' })
      }
      expect((await ask(app(), chatBody(), { key })).status).toBe(401)
    },
  )

  test('health needs no key', async () => {
    for (const path of ['/healthz', '/readyz'])
      expect((await ask(app(), undefined, { path, key: '' })).status).toBe(200)
  })

  test('metrics need a key that may read them', async () => {
    expect((await ask(app(), undefined, { path: '/metrics', key: testKeys.two })).status).toBe(403)
    expect((await ask(app(), undefined, { path: '/metrics', key: testKeys.one })).status).toBe(200)
  })
})

describe('a server on loopback', () => {
  const headersOf = (host: string, origin?: string) => ({ host, ...(origin && { origin }) })

  test.each([
    ['its own name', headersOf('127.0.0.1:8787'), 200],
    ['localhost', headersOf('localhost:8787', 'http://localhost:8787'), 200],
    ['a name that was made to point here', headersOf('evil.example:8787', 'http://evil.example:8787'), 403],
    ['a page elsewhere', headersOf('127.0.0.1:8787', 'https://evil.example'), 403],
    ['a page without an origin of its own', headersOf('127.0.0.1:8787', 'null'), 403],
    ['a page of another port', headersOf('127.0.0.1:8787', 'http://127.0.0.1:9999'), 403],
    ['an allowed page', headersOf('127.0.0.1:8787', 'https://good.example'), 200],
  ])('%s', async (_, headers, status) => {
    const app = appWith({ ...open, origins: ['https://good.example'] })
    const response = await ask(app, chatBody(), { key: '', headers })
    expect(response.status).toBe(status)
  })

  test('only listed origins get CORS permission to read', async () => {
    const preflight = (app: ReturnType<typeof appWith>, origin: string) =>
      ask(app, undefined, {
        method: 'OPTIONS',
        key: '',
        headers: { ...headersOf('localhost', origin), 'access-control-request-method': 'POST' },
      })
    const app = appWith({ ...testConfig, origins: ['https://good.example'] })
    const good = await preflight(app, 'https://good.example')
    expect(good.status).toBe(204)
    expect(good.headers.get('access-control-allow-origin')).toBe('https://good.example')
    expect((await preflight(app, 'https://evil.example')).headers.get('access-control-allow-origin')).toBeNull()
    expect(
      (await preflight(appWith(testConfig), 'https://good.example')).headers.get('access-control-allow-origin'),
    ).toBeNull()
  })
})

describe('limits', () => {
  test('requests per minute, for each key separately', async () => {
    const keys = testConfig.keys!.map((key) => ({ ...key, requestsPerMinute: 2 }))
    const app = appWith({ keys })
    const statuses = async (key: string) => {
      const found: number[] = []
      for (let n = 0; n < 3; n++) found.push((await ask(app, undefined, { path: '/v1/models', key })).status)
      return found
    }
    expect(await statuses(testKeys.one)).toEqual([200, 200, 429])
    expect(await statuses(testKeys.two)).toEqual([200, 200, 429])
    const wait = (await ask(app, undefined, { path: '/v1/models' })).headers.get('retry-after')
    expect(Number(wait)).toBeGreaterThanOrEqual(1)
    expect(Number(wait)).toBeLessThanOrEqual(30)
  })

  test('concurrent answers: 503 for all, 429 for one key, and room again when they end', async () => {
    const app = appWith({ ...testConfig, limits: { concurrency: 3, concurrencyPerKey: 2 } })
    const long = chatBody({ stream: true, n: 2, max_tokens: 500 })
    const held = await ask(app, long)
    expect(held.status).toBe(200)
    const same = await ask(app, chatBody())
    expect(same.headers.get('retry-after')).toBe('1')
    expect(await refusal(same)).toMatchObject({ status: 429, code: 'concurrency_limit_exceeded' })
    expect(await refusal(await ask(app, chatBody({ n: 2 }), { key: testKeys.two }))).toMatchObject({
      status: 503,
      code: 'busy',
    })
    await held.body!.cancel()
    expect((await ask(app, chatBody())).status).toBe(200)
  })

  test('a refused request leaves its room to others', async () => {
    const app = appWith({ ...testConfig, limits: { concurrency: 1 } })
    for (let n = 0; n < 3; n++)
      expect((await ask(app, chatBody({ messages: [{ role: 'user', content: 'x'.repeat(2000) }] }))).status).toBe(400)
    expect((await ask(app, chatBody())).status).toBe(200)
  })

  test('the longest prompt', async () => {
    const app = appWith({ ...open, limits: { promptTokens: 40 } })
    const of = (content: string) =>
      ask(app, chatBody({ messages: [{ role: 'user', content }] }), { headers: { host: 'localhost' } })
    expect(await refusal(await of('x'.repeat(60)))).toMatchObject({ status: 400, code: 'context_length_exceeded' })
    expect((await of('x')).status).toBe(200)
  })
})

describe('tenants', () => {
  const secret = chatBody({ messages: [{ role: 'user', content: `the secret of one is ${'s'.repeat(60)}` }] })
  const cached = async (app: ReturnType<typeof appWith>, key: string) =>
    (await (await ask(app, secret, { key })).json()).usage.prompt_tokens_details.cached_tokens as number

  test("cannot observe each other's prompts in the prefix cache; keys of one tenant share it", async () => {
    const third = 'another-key-of-one'
    const app = appWith({ keys: [...testConfig.keys!, { sha256: sha256(third), tenant: 'one' }] })
    expect(await cached(app, testKeys.one)).toBe(0)
    expect(await cached(app, testKeys.two)).toBe(0)
    expect(await cached(app, testKeys.one)).toBeGreaterThan(60)
    expect(await cached(app, third)).toBeGreaterThan(60)
  })

  test('a key without a tenant is a tenant of its own, whatever others are called', async () => {
    const hash = sha256('lonely')
    const app = appWith({
      keys: [
        { sha256: hash },
        { sha256: sha256('liar'), tenant: hash },
        { sha256: sha256('mimic'), tenant: `key:${hash}` },
      ],
    })
    expect(await cached(app, 'lonely')).toBe(0)
    expect(await cached(app, 'liar')).toBe(0)
    expect(await cached(app, 'mimic')).toBe(0)
  })

  test('get the same answer from a warm cache as alone, also concurrently', async () => {
    const app = appWith(testConfig)
    const text = async (key: string) => (await (await ask(app, secret, { key })).json()).choices[0].message.content
    const [one, two] = await Promise.all([text(testKeys.one), text(testKeys.two)])
    expect(two).toBe(one)
  })
})
