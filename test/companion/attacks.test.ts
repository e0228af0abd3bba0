/** An attacker gets at most a share of a companion, and only for a while. */
import { request as httpRequest } from 'node:http'
import { afterAll, describe, expect, test, vi } from 'vitest'
import { createCompanion, defaultLimits } from '../../companion/app.ts'
import { companionConfigOf } from '../../companion/config.ts'
import { serveNode } from '../../edge/node.ts'
import { loadWasm } from '../../node/wasm.ts'
import { Engine, Nonces, sign } from '../../src/index.ts'
import { randomPrompt } from '../helpers/answers.ts'
import { pairKey } from '../helpers/companion.ts'
import { tinyFiles, tinyVocab } from '../helpers/tiny-model.ts'

const mac = await Engine.load(tinyFiles({ context: 512 }), {
  wasm: await loadWasm('auto', 1),
  passTokens: 64,
  prefixBytes: 0,
})
afterAll(() => mac.close())

const edges = ['a', 'b', 'c'].map((id) => ({ id, key: pairKey }))
const service = (limits: Parameters<typeof createCompanion>[0]['limits'] = {}) =>
  createCompanion({ engine: mac, edges, limits })

async function signed(id: string, path: string, asked?: object) {
  const body = new TextEncoder().encode(asked ? JSON.stringify(asked) : '')
  const { authorization } = await sign(id, pairKey, { method: asked ? 'POST' : 'GET', path, body })
  const init = { method: asked ? 'POST' : 'GET', headers: { authorization }, ...(asked && { body, duplex: 'half' }) }
  return new Request(`http://mac.test${path}`, init as RequestInit)
}

let seed = 0
const prefill = (length = 300) => ({
  ids: randomPrompt(length, 60_000 + seed++),
  model: mac.identity,
  tenant: '',
  codec: 'f32',
  from: 0,
  to: length - (length % 16) - 16,
})

describe('an edge that opens streams and never reads', () => {
  test('leaves turns for others at once, by the default limits', async () => {
    const app = service()
    const held: Response[] = []
    const asking = Array.from({ length: 8 }, async () =>
      held.push(await app.fetch(await signed('a', '/v1/prefill', prefill(100)))),
    )
    while (held.length < defaultLimits.running / 2) await new Promise((resolve) => setTimeout(resolve, 5))
    // Nothing of those was read, and others get theirs.
    for (const id of ['b', 'c']) {
      const answer = await app.fetch(await signed(id, '/v1/prefill', prefill(100)))
      expect((await answer.arrayBuffer()).byteLength).toBeGreaterThan(10_000)
    }
    expect(held).toHaveLength(defaultLimits.running / 2)
    for (let at = 0; at < 8; at++) {
      while (held.length <= at) await new Promise((resolve) => setTimeout(resolve, 5))
      await held[at]!.body!.cancel()
    }
    await Promise.all(asking)
  })

  test('is dropped after the stall limit, so that its own requests continue, too', async () => {
    const over: object[] = []
    const limits = { running: 2, stallSeconds: 0.05 }
    const app = createCompanion({ engine: mac, edges, limits, onRequest: (line) => over.push(line) })
    const answers = await Promise.all(
      Array.from({ length: 6 }, async () => app.fetch(await signed('a', '/v1/prefill', prefill(100)))),
    )
    expect(answers.map(({ status }) => status)).toEqual(Array(6).fill(200))
    while (over.length < 6) await new Promise((resolve) => setTimeout(resolve, 5))
    for (const { body } of answers) await expect(body!.getReader().read()).rejects.toThrow('took nothing')
    expect(mac.stats).toMatchObject({ running: 0, waiting: 0, pages_in_use: 0 })
  })
})

describe('an edge that sends requests without end', () => {
  test('is refused, and another is not', async () => {
    const app = service({ requestsPerMinute: 50 })
    const statuses: number[] = []
    for (let at = 0; at < 60; at++) statuses.push((await app.fetch(await signed('a', '/v1/status'))).status)
    expect(statuses.slice(0, 50)).toEqual(Array(50).fill(200))
    expect(statuses.at(-1)).toBe(429)
    expect((await app.fetch(await signed('b', '/v1/status'))).status).toBe(200)
  })

  test('reaches its rate limit before its nonce table is full', () => {
    // A nonce from the far end of the window is kept for two of them, and a minute’s share may come at once.
    const nonces = new Nonces()
    for (let at = 0; at < 3 * defaultLimits.requestsPerMinute; at++)
      expect(nonces.take({ id: 'a', nonce: String(at), time: 60_000 }, 0)).toBeUndefined()
  })
})

describe('a request that is too large', () => {
  test.each([
    ['more tokens than the context has', { ...prefill(), ids: Array(513).fill(1) }, 'context_length_exceeded'],
    ['a body of more bytes than are taken', { ...prefill(), tenant: 'x'.repeat(5 << 20) }, 'body_too_large'],
  ])('%s is refused before it waits for a turn', async (_, asked, code) => {
    const app = service({ running: 1 })
    const holder = await app.fetch(await signed('a', '/v1/prefill', prefill(100)))
    const refused = await app.fetch(await signed('b', '/v1/prefill', asked))
    expect(((await refused.json()) as { error: { code: string } }).error.code).toBe(code)
    await holder.body!.cancel()
  })

  test('as many tokens as the context has are accepted', async () => {
    const answer = await service().fetch(await signed('a', '/v1/prefill', { ...prefill(512), to: 16 }))
    expect(answer.status).toBe(200)
    await answer.body!.cancel()
  })

  test('one with too many biases is refused', async () => {
    const relay = (biases: number) => ({
      ids: [1, 2, 3],
      model: mac.identity,
      maxTokens: 1,
      after: [],
      options: { logitBias: Object.fromEntries(Array.from({ length: biases }, (_, id) => [id, 1])) },
    })
    const refused = await service().fetch(await signed('a', '/v1/relay', relay(1025)))
    expect(refused.status).toBe(400)
    const taken = await service().fetch(await signed('a', '/v1/relay', relay(tinyVocab)))
    expect(taken.status).toBe(200)
    await taken.body!.cancel()
  })
})

test("strangers' bodies are refused by their heads, over connections that hold them", async () => {
  const serving = await serveNode({ fetch: service().fetch, port: 0 })
  try {
    const { port } = new URL(serving.url)
    const { authorization } = await sign('a', new Uint8Array(32), {
      method: 'POST',
      path: '/v1/prefill',
      body: new Uint8Array(4 << 20),
    })
    /** Sends a head and a little of what it promises, and says what came back while the rest was held. */
    const held = (headers: Record<string, string>) =>
      new Promise<number>((resolve, reject) => {
        const sending = httpRequest({
          port,
          method: 'POST',
          path: '/v1/prefill',
          headers: { 'content-length': 4 << 20, ...headers },
        })
        sending.on('response', (response) => {
          resolve(response.statusCode!)
          sending.destroy()
        })
        sending.on('error', reject)
        sending.write(new Uint8Array(1000))
      })
    const old = `Foretoken id=a, time=${Date.now()}, nonce=${'0'.repeat(32)}, mac=${'0'.repeat(64)}`
    for (const headers of [
      { authorization },
      { authorization: old },
      { authorization: 'Bearer x' },
      {} as Record<string, string>,
    ]) {
      const statuses = await Promise.all(Array.from({ length: 20 }, () => held(headers)))
      expect(statuses).toEqual(Array(20).fill(401))
    }
    const status = await fetch(`${serving.url}/v1/status`, {
      headers: { authorization: (await signed('a', '/v1/status')).headers.get('authorization')! },
    })
    expect(status.status).toBe(200)
  } finally {
    await serving.close(100)
  }
})

describe('an edge whose requests are refused', () => {
  test.each([
    ['of another model', { ids: [1, 2, 3], model: '0'.repeat(64), codec: 'f32', from: 0, to: 0 }],
    ['that are not valid', { tokens: [1, 2, 3] }],
    [
      'with options that the engine refuses',
      { ids: [1, 2], model: mac.identity, maxTokens: 1, after: [], options: { temperature: -1 } },
    ],
  ])('requests %s use up its rate of bytes, and answered ones do not', async (_, asked) => {
    const app = service({ refusedBytesPerMinute: 40_000, bodyBytes: 20_000 })
    const path = 'options' in asked ? '/v1/relay' : '/v1/prefill'
    const statuses: number[] = []
    for (let at = 0; at < 4; at++) statuses.push((await app.fetch(await signed('a', path, asked))).status)
    expect(statuses.slice(0, 2).every((status) => status === 400 || status === 404)).toBe(true)
    expect(statuses.at(-1)).toBe(429)
    for (let at = 0; at < 4; at++) {
      const answer = await app.fetch(await signed('b', '/v1/prefill', prefill(100)))
      expect(answer.status).toBe(200)
      await answer.arrayBuffer()
      expect((await app.fetch(await signed('b', '/v1/status'))).status).toBe(200)
    }
  })
})

describe('the config', () => {
  const key = 'k'.repeat(32)

  test('has every limit, each with a default', () => {
    expect(companionConfigOf({ edges: [{ id: 'a', key }] }).limits).toEqual(defaultLimits)
    const limits = {
      running: 2,
      waitingPerEdge: 3,
      bodyBytes: 4,
      bodiesBytes: 5,
      requestsPerMinute: 6,
      refusedBytesPerMinute: 7,
      stallSeconds: 0.5,
    }
    expect(companionConfigOf({ limits }).limits).toEqual(limits)
  })

  test.each([
    { stallSeconds: 0 },
    { stallSeconds: 3601 },
    { requestsPerMinute: 0 },
    { bodiesBytes: 1.5 },
    { stall: 1 },
  ])('%j is refused', (limits) => {
    expect(() => companionConfigOf({ limits })).toThrow(expect.objectContaining({ code: 'bad_argument' }))
  })
})

describe('a signed body that holds more than any request needs', () => {
  const { ids, model } = prefill(100)
  const asked = { ids, model, maxTokens: 1, after: [] }
  const bias = (entries: number) => Object.fromEntries(Array.from({ length: entries }, (_, id) => [id, 0]))
  const deep = (levels: number) => JSON.parse('['.repeat(levels) + ']'.repeat(levels)) as object
  test.each([
    [
      'fields of options',
      { ...asked, options: Object.fromEntries(Array.from({ length: 1025 }, (_, at) => [`k${at}`, 1])) },
    ],
    ['biases', { ...asked, options: { logitBias: bias(1025) } }],
    ['lists in lists', { ...asked, options: {}, more: deep(64) }],
    ['lists', { ...asked, options: {}, more: Array.from({ length: 8192 }, () => []) }],
    ['texts', { ...asked, options: { stop: Array.from({ length: 32_768 }, () => '') } }],
    ['numbers', { ...asked, options: {}, after: new Array(262_144).fill(1) }],
  ])('is refused before anything is parsed: %s', async (_, body) => {
    const request = await signed('a', '/v1/relay', body)
    const parse = vi.spyOn(JSON, 'parse')
    try {
      const answer = await service().fetch(request)
      expect(answer.status).toBe(400)
      expect(parse.mock.calls.filter(([text]) => text.length > 1000)).toEqual([])
    } finally {
      parse.mockRestore()
    }
  })

  test('as many biases as a request may have are accepted', async () => {
    const answer = await service().fetch(
      await signed('a', '/v1/relay', { ...asked, options: { logitBias: bias(200) } }),
    )
    expect(answer.status).toBe(200)
    await answer.text()
  })
})
