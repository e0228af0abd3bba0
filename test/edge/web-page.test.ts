/** The page's routes: its files and headers, the model whole and in ranges, who may have them. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createApp, type Page, type ServerConfig } from '../../edge/index.ts'
import { type Engine, memorySource } from '../../src/index.ts'
import { ask, refusal } from '../helpers/ask.ts'
import { sha256, testConfig, tinyEngine } from '../helpers/tiny-server.ts'

const weights = Uint8Array.from({ length: (1 << 20) + 77 }, (_, at) => (at * 31) % 251)
const file = (name: string, bytes: Uint8Array) => {
  return { name, bytes: bytes.length, sha256: sha256(name), source: memorySource(name, bytes) }
}
const files: Readonly<Record<string, string>> = {
  'index.html': '<!doctype html>',
  'sw.js': 'self',
  'page/main-0123456789ab.js': 'main',
  'page/icon.svg': '<svg/>',
}
const page: Page = {
  file: async (path) => (Object.hasOwn(files, path) ? new TextEncoder().encode(files[path]) : undefined),
  models: async () => [
    {
      name: 'some',
      files: [file('a b.gguf', weights)],
      predictor: file('p.safetensors', weights.subarray(0, 9)),
    },
  ],
}

let engine: Engine
beforeAll(async () => {
  engine = await tinyEngine()
})
afterAll(() => engine.close())

const appWith = (shown: Page | undefined, config: ServerConfig = testConfig) =>
  createApp({ engine, config, ...(shown && { page: shown }) })
const get = (path: string, headers: Record<string, string> = {}, app = appWith(page)) =>
  ask(app, undefined, { path, key: '', headers })

test.each([
  ['/', 'text/html; charset=utf-8', 'no-cache'],
  ['/sw.js', 'text/javascript; charset=utf-8', 'no-cache'],
  ['/page/main-0123456789ab.js', 'text/javascript; charset=utf-8', 'public, max-age=31536000, immutable'],
  ['/page/icon.svg', 'image/svg+xml', 'no-cache'],
])('%s: type, caching, isolation', async (path, type, caching) => {
  const response = await get(path)
  expect(response.status).toBe(200)
  expect(Object.fromEntries(response.headers)).toMatchObject({
    'content-type': type,
    'cache-control': caching,
    'cross-origin-opener-policy': 'same-origin',
    'cross-origin-embedder-policy': 'require-corp',
  })
  const policy = response.headers.get('content-security-policy')!
  expect(policy).toContain("frame-ancestors 'none'")
  expect(policy).not.toMatch(/script-src[^;]*'unsafe-(inline|eval)'/)
})

test.each(['/page/nothing.js', '/page/..%2f..%2fpackage.json', '/page/model/nothing', '/page/toString'])(
  '%s is not served',
  async (path) => expect(await refusal(await get(path))).toMatchObject({ status: 404, code: 'not_found' }),
)

test('the model lists its files, with addresses that serve them', async () => {
  const told = await (await get('/page/model.json')).json()
  expect(told).toEqual({
    name: 'some',
    files: [{ name: 'a b.gguf', bytes: weights.length, sha256: sha256('a b.gguf'), url: 'model/a%20b.gguf' }],
    predictor: { name: 'p.safetensors', bytes: 9, sha256: sha256('p.safetensors'), url: 'model/p.safetensors' },
  })
  const whole = await get(`/page/${told.files[0].url}`)
  expect(whole.headers.get('content-length')).toBe(String(weights.length))
  expect(whole.headers.get('etag')).toBe(`"${sha256('a b.gguf')}"`)
  expect(new Uint8Array(await whole.arrayBuffer())).toEqual(weights)
})

test('several models are listed with what is known of them, and files of one name have addresses of their own', async () => {
  const [one, two] = [weights.subarray(0, 100), weights.subarray(100, 300)]
  const named = (bytes: Uint8Array, hash: string) => ({ ...file('model.gguf', bytes), sha256: sha256(hash) })
  const about = { licence: 'Apache-2.0', terms: 'https://licence.example/', memory: 5 }
  const app = appWith({
    ...page,
    models: async () => [
      { name: 'one', files: [named(one, 'one'), file('config.json', one)] },
      { name: 'two', files: [named(two, 'two')], ...about },
    ],
  })
  const { models } = await (await get('/page/model.json', {}, app)).json()
  expect(models.map(({ name }: { name: string }) => name)).toEqual(['one', 'two'])
  expect(models[1]).toMatchObject(about)
  expect(models[0].files[1].url).toBe('model/config.json')
  for (const [at, bytes] of [one, two].entries()) {
    const response = await get(`/page/${models[at].files[0].url}`, {}, app)
    expect(new Uint8Array(await response.arrayBuffer())).toEqual(bytes.slice())
  }
  // The name alone says nothing.
  expect(await refusal(await get('/page/model/model.gguf', {}, app))).toMatchObject({ status: 404 })
})

describe('ranges', () => {
  const size = weights.length
  test.each([
    ['bytes=0-0', 0, 1],
    ['bytes=5-9', 5, 10],
    [`bytes=${size - 3}-`, size - 3, size],
    [`bytes=1048570-9999999999`, 1_048_570, size],
  ])('%s', async (range, from, end) => {
    const response = await get('/page/model/a%20b.gguf', { range })
    expect(response.status).toBe(206)
    expect(response.headers.get('content-range')).toBe(`bytes ${from}-${end - 1}/${size}`)
    expect(new Uint8Array(await response.arrayBuffer())).toEqual(weights.slice(from, end))
  })

  test.each([`bytes=${size}-`, 'bytes=9-5', 'bytes=999999999999999-'])('%s is not satisfiable', async (range) => {
    const response = await get('/page/model/a%20b.gguf', { range })
    expect(response.status).toBe(416)
    expect(response.headers.get('content-range')).toBe(`bytes */${size}`)
  })

  test('a file whose tag changed is sent whole', async () => {
    const { headers } = await get('/page/model/a%20b.gguf')
    for (const [tag, status] of [
      [headers.get('etag')!, 206],
      ['"another"', 200],
      [`W/${headers.get('etag')}`, 200],
    ] as const) {
      const response = await get('/page/model/a%20b.gguf', { range: 'bytes=5-9', 'if-range': tag })
      expect(response.status, tag).toBe(status)
      await response.body?.cancel()
    }
  })

  test.each(['bytes=-5', 'lines=1-2', 'bytes=1-2,4-5', 'bytes=x'])('%s is ignored', async (range) => {
    const response = await get('/page/model/a%20b.gguf', { range })
    expect(response.status).toBe(200)
    await response.body?.cancel()
  })
})

test('on loopback a page of another name or site gets neither page nor model', async () => {
  const app = appWith(page, { listen: 'loopback' })
  for (const path of ['/', '/sw.js', '/page/model.json', '/page/model/a%20b.gguf', '/page/icon.svg']) {
    expect((await get(path, { host: 'evil.example' }, app)).status).toBe(403)
    expect((await get(path, { host: '127.0.0.1:1', origin: 'https://evil.example' }, app)).status).toBe(403)
    const own = await get(path, { host: '127.0.0.1:1' }, app)
    expect(own.status).toBe(200)
    await own.body?.cancel()
  }
})

test('without a page, / says that the server runs; a page whose model cannot run in a tab says so', async () => {
  expect(await (await get('/', {}, appWith(undefined))).text()).toBe('Ollama is running')
  expect((await get('/sw.js', {}, appWith(undefined))).status).toBe(401)
  const bare = appWith({ ...page, models: async () => [] })
  expect(await refusal(await get('/page/model.json', {}, bare))).toMatchObject({ status: 404 })
  expect(await refusal(await get('/page/model/a%20b.gguf', {}, bare))).toMatchObject({ status: 404 })
})
