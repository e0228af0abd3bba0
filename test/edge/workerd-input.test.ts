/** Bad input to the deployed Worker's own entry, in workerd: it is refused there as on Node, and costs as little. */
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { deflateSync, gzipSync } from 'node:zlib'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { prepare } from '../../node/prepare.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { testConfig, testKeys } from '../helpers/tiny-server.ts'
import { type Dev, wrangler, wranglerDev } from '../helpers/wrangler-dev.ts'
import { attackers, refusedBodies } from '../suites/attacks.ts'

const config = fileURLToPath(new URL('../../wrangler.toml', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'foretoken-input-'))
const headers = { authorization: `Bearer ${testKeys.one}`, 'content-type': 'application/json' }
let dev: Dev

beforeAll(async () => {
  const out = join(folder, 'tiny')
  const state = join(folder, 'state')
  await prepare(tinyFiles({ context: 4096 }), out, { context: 4096, kv: 'f32' })
  for (const file of readdirSync(out))
    await wrangler(['r2', 'object', 'put', `foretoken-weights/${file}`, '--file', join(out, file), '-c', config], state)
  const variable = JSON.stringify({ ...testConfig, models: ['tiny'] })
  dev = await wranglerDev(config, state, ['--var', `FORETOKEN_CONFIG:${variable}`])
})
afterAll(async () => {
  await dev?.stop()
  rmSync(folder, { recursive: true, force: true })
})

const post = (path: string, body: string) => fetch(`${dev.url}${path}`, { method: 'POST', headers, body })
const chat = { model: 'tiny', messages: [{ role: 'user', content: 'x' }], max_tokens: 2 }
const answered = async () => (await post('/v1/chat/completions', JSON.stringify(chat))).status

async function metric(name: string): Promise<number> {
  const text = await (await fetch(`${dev.url}/metrics`, { headers })).text()
  return Number(new RegExp(`^${name} (.*)$`, 'm').exec(text)![1])
}

test('the most expensive requests are refused, eight at once, and hold nothing', async () => {
  expect(await answered()).toBe(200)
  const all = refusedBodies('tiny')
  const statuses = await Promise.all(
    Array.from({ length: attackers }, async (_, from) => {
      const found: number[] = []
      for (let n = 0; n < all.length; n++) {
        const response = await post(...all[(from + n) % all.length]!)
        expect(await response.json()).toMatchObject({ error: { code: expect.any(String) } })
        found.push(response.status)
      }
      return found
    }),
  )
  for (const status of statuses.flat()) expect([400, 413, 429, 503]).toContain(status)
  expect(await answered()).toBe(200)
  expect(await metric('foretoken_body_bytes')).toBe(0)
  expect(await metric('foretoken_answers')).toBe(0)
  expect(dev.log()).not.toMatch(/out of memory|call stack/i)
})

/** The status of a request whose head is `head`. */
async function raw(head: string): Promise<number> {
  const { hostname, port } = new URL(dev.url)
  const socket = connect(Number(port), hostname)
  await once(socket, 'connect')
  socket.write(`${head}\r\nauthorization: ${headers.authorization}\r\nconnection: close\r\n\r\n`)
  let got = ''
  for await (const piece of socket.setEncoding('utf8')) got += piece
  return Number(/^HTTP\/1.1 (\d+)/.exec(got)?.[1])
}

test.each([
  ['a model in broken percents', 'GET /v1/models/%zz HTTP/1.1\r\nhost: x'],
  ['a model that is not UTF-8', 'GET /v1/models/%c3%28 HTTP/1.1\r\nhost: x'],
  ['a model with a NUL', 'GET /v1/models/a%00b HTTP/1.1\r\nhost: x'],
])('%s: 400', async (_, head) => expect(await raw(head)).toBe(400))

test.each([
  ['a field twice', `${JSON.stringify(chat).slice(0, -1)},"model":"tiny"}`],
  ['__proto__', `${JSON.stringify(chat).slice(0, -1)},"logit_bias":{"__proto__":1}}`],
  ['half of a surrogate pair', JSON.stringify(chat).replace('"x"', '"\\ud800"')],
  ['a NUL in a name', JSON.stringify({ ...chat, model: 'tiny\u0000' })],
])('%s: 400', async (_, body) => expect((await post('/v1/chat/completions', body)).status).toBe(400))

test.each(['gzip', 'deflate'] as const)(
  'a body compressed by %s is read, and 100 MB of zeros are not',
  async (encoding) => {
    const pack = encoding === 'gzip' ? gzipSync : deflateSync
    const send = (body: Uint8Array) =>
      fetch(`${dev.url}/v1/chat/completions`, {
        method: 'POST',
        headers: { ...headers, 'content-encoding': encoding },
        body: body as Uint8Array<ArrayBuffer>,
      })
    expect((await send(pack(JSON.stringify(chat)))).status).toBe(200)
    const bombed = await send(pack(new Uint8Array(100_000_000)))
    expect(await bombed.json()).toMatchObject({ error: { code: 'body_too_large' } })
    expect(await answered()).toBe(200)
  },
)

test('a seed keeps its 64 bits, and unknown fields are reported', async () => {
  const body = JSON.stringify({ ...chat, max_tokens: 16, temperature: 1.9, keep_alive: 1 })
  const texts = await Promise.all(
    ['9223372036854775807', '9223372036854775806', '9223372036854775807'].map(async (seed) => {
      const response = await post('/v1/chat/completions', body.replace(/}$/, `,"seed":${seed}}`))
      expect(response.headers.get('x-foretoken-ignored')).toBe('keep_alive')
      return (await response.json()).choices[0].message.content
    }),
  )
  expect(texts[0]).toBe(texts[2])
  expect(texts[0]).not.toBe(texts[1])
})

test('a body of 64 MB gets a readable refusal', async () => {
  const response = await fetch(`${dev.url}/v1/chat/completions`, {
    method: 'POST',
    headers,
    body: ' '.repeat(64 << 20),
  })
  expect(response.status).toBe(413)
  expect(await response.json()).toMatchObject({ error: { code: 'body_too_large' } })
})
