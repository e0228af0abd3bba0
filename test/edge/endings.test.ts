/**
 * However a request ends, everything that it held is released: its slot, pages, body budget and
 * listeners; and it is logged.
 */
import { getEventListeners } from 'node:events'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createApp, type LogLine, type ServerConfig } from '../../edge/index.ts'
import { type Engine, ForetokenError, memorySource } from '../../src/index.ts'
import { ask, chatBody, chatPath } from '../helpers/ask.ts'
import { sha256, testConfig, testKeys, tinyEngine } from '../helpers/tiny-server.ts'

let engine: Engine
beforeAll(async () => {
  engine = await tinyEngine({ passTokens: 32 })
})
afterAll(() => engine.close())

interface Held {
  readonly limits?: ServerConfig['limits']
  readonly keepAliveSeconds?: number
  /** Fields added to the usual chat request. */
  readonly body?: object
  readonly raw?: BodyInit
  /** Ends the request; resolves when it has. */
  end(asked: Promise<Response>, control: AbortController): Promise<void>
  /** Values of the single log line. */
  readonly log: Partial<Record<string, unknown>>
}

const long = { messages: [{ role: 'user', content: 'p'.repeat(900) }] }
const stream = { stream: true, max_tokens: 900 }

async function read(response: Response, pieces: number): Promise<ReadableStreamDefaultReader<Uint8Array>> {
  const reader = response.body!.getReader()
  for (let n = 0; n < pieces; n++) await reader.read()
  return reader
}

const begun = async () => {
  while (engine.stats.running === 0) await new Promise((resolve) => setImmediate(resolve))
}

const endings: [string, Held][] = [
  ['done, whole', { end: async (asked) => void (await (await asked).text()), log: { status: 200, stream: false } }],
  [
    'done, streamed',
    {
      body: { stream: true },
      end: async (asked) => void (await (await asked).text()),
      log: { status: 200, stream: true },
    },
  ],
  ['refused for its shape', { body: { n: -1 }, end: async (asked) => void (await asked), log: { status: 400 } }],
  [
    'refused for its prompt',
    {
      body: { messages: [{ role: 'user', content: 'x'.repeat(2000) }] },
      end: async (asked) => void (await asked),
      log: { status: 400 },
    },
  ],
  [
    'cancelled while its body comes',
    {
      raw: new ReadableStream({ start() {} }),
      limits: { bodySeconds: 0.05 },
      end: async (asked) => void (await asked),
      log: { status: 408 },
    },
  ],
  [
    'left while its prompt is read, whole',
    {
      body: long,
      async end(asked, control) {
        await begun()
        control.abort()
        await asked
      },
      log: { status: 499, aborted: 'gone' },
    },
  ],
  [
    'left while its prompt is read, before headers',
    {
      body: { ...long, ...stream },
      async end(asked, control) {
        await begun()
        control.abort()
        await asked
      },
      log: { status: 499, aborted: 'gone' },
    },
  ],
  [
    'left between headers and the first token',
    {
      body: { ...long, stream: true },
      keepAliveSeconds: 0.001,
      async end(asked) {
        await (await asked).body!.cancel()
      },
      log: { status: 200, aborted: 'gone' },
    },
  ],
  [
    'left in the middle',
    {
      body: stream,
      end: async (asked) => (await read(await asked, 3)).cancel(),
      log: { status: 200, aborted: 'gone' },
    },
  ],
  [
    'left in the middle, and its body never cancelled',
    {
      body: stream,
      async end(asked, control) {
        await read(await asked, 3)
        control.abort()
      },
      log: { status: 200, aborted: 'gone' },
    },
  ],
  [
    'never read at all',
    {
      body: stream,
      limits: { stallSeconds: 0.05 },
      end: async (asked) => void (await asked),
      log: { status: 200, aborted: 'stalled' },
    },
  ],
  [
    'stalled in the middle',
    {
      body: { ...stream, n: 3 },
      limits: { stallSeconds: 0.05 },
      end: async (asked) => void (await read(await asked, 4)),
      log: { status: 200, aborted: 'stalled' },
    },
  ],
  [
    'too long, before headers',
    {
      body: { max_tokens: 900 },
      limits: { requestSeconds: 0.03 },
      end: async (asked) => void (await asked),
      log: { status: 504, aborted: 'timeout' },
    },
  ],
  [
    'too long, in the middle and unread',
    {
      body: stream,
      limits: { requestSeconds: 0.2, stallSeconds: 0.3 },
      end: async (asked) => void (await read(await asked, 1)),
      log: { status: 200, aborted: 'timeout' },
    },
  ],
]

describe.each(endings)('%s', (_, { limits, keepAliveSeconds = 5, body, raw, end, log }) => {
  test('releases everything, and is logged once', async () => {
    const lines: LogLine[] = []
    const config = { ...testConfig, keepAliveSeconds, limits: { ...limits } }
    const app = createApp({ engine, config, onRequest: (line) => lines.push(line) })
    const control = new AbortController()
    const request = new Request(`http://app.test${chatPath}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${testKeys.one}` },
      body: raw ?? JSON.stringify(chatBody(body)),
      signal: control.signal,
      duplex: 'half',
    } as RequestInit)
    await end(Promise.resolve(app.fetch(request)), control)
    await expect.poll(() => lines.length).toBe(1)
    expect(lines[0]).toMatchObject(log)
    await expect.poll(() => engine.stats.running + engine.stats.waiting).toBe(0)
    expect(engine.stats.pages_in_use).toBe(engine.stats.prefix_pages)
    expect(getEventListeners(request.signal, 'abort')).toHaveLength(0)
    const page = await (await ask(app, undefined, { path: '/metrics' })).text()
    for (const name of ['answers', 'admission_waiting', 'body_bytes']) expect(page).toContain(`foretoken_${name} 0\n`)
    expect(lines).toHaveLength(2)
  })
})

test('an abandoned or timed-out answer releases its slot to the next request at once, read or not', async () => {
  const limits = { concurrency: 1, waitSeconds: 0, requestSeconds: 0.1, stallSeconds: 300 }
  const app = createApp({ engine, config: { ...testConfig, limits } })
  const stalled = await ask(app, chatBody(stream))
  await read(stalled, 1)
  await expect.poll(async () => (await ask(app, chatBody({ max_tokens: 1 }))).status).toBe(200)
  expect(engine.stats).toMatchObject({ running: 0, waiting: 0 })
})

describe('model files for a page', () => {
  const bytes = new Uint8Array(4 << 20)
  function pageApp(limits: ServerConfig['limits']) {
    const file = { name: 'm.gguf', bytes: bytes.length, sha256: sha256('m'), source: memorySource('m.gguf', bytes) }
    let reads = 0
    const source = {
      ...file.source,
      size: bytes.length,
      name: 'm.gguf',
      read: (at: number, into: Uint8Array) => {
        reads++
        if (at >= 3 << 20 && failing) return Promise.reject(new ForetokenError('io', 'broken'))
        return file.source.read(at, into)
      },
    }
    let failing = false
    const page = { file: async () => undefined, model: async () => ({ name: 'm', files: [{ ...file, source }] }) }
    const app = createApp({ engine, config: { ...testConfig, limits }, page: page as never })
    const get = (options: { range?: string; method?: string } = {}) =>
      ask(app, undefined, {
        path: '/page/model/m.gguf',
        ...(options.method && { method: options.method }),
        headers: options.range ? { range: options.range } : {},
      })
    const running = async () =>
      Number(/^foretoken_downloads (.*)$/m.exec(await (await ask(app, undefined, { path: '/metrics' })).text())![1])
    return { get, running, reads: () => reads, fail: () => void (failing = true) }
  }

  test('as many as allowed at once, and one more when one has ended in any way', async () => {
    const { get, running, fail } = pageApp({ downloads: 2 })
    const [one, two] = [await get(), await get({ range: 'bytes=0-9' })]
    expect((await get()).status).toBe(503)
    expect((await two.arrayBuffer()).byteLength).toBe(10)
    const three = await get()
    expect(three.status).toBe(200)
    await three.body!.cancel()
    fail()
    await expect(one.arrayBuffer()).rejects.toThrow('broken')
    expect(await running()).toBe(0)
  })

  test('a HEAD request and an unsatisfiable range hold no slot', async () => {
    const { get, running } = pageApp({ downloads: 1 })
    for (const options of [{ method: 'HEAD' }, { range: 'bytes=99999999-' }]) await get(options)
    expect(await running()).toBe(0)
  })

  test('an unread one is abandoned, and no more of it is read from disk than was requested', async () => {
    const { get, running, reads } = pageApp({ downloads: 1, stallSeconds: 0.05 })
    const never = await get()
    await expect.poll(running).toBe(0)
    expect(reads()).toBe(0)
    await expect(never.arrayBuffer()).rejects.toThrow('reads no more')
    const reader = await read(await get(), 2)
    await expect.poll(running).toBe(0)
    expect(reads()).toBe(2)
    await expect(reader.read()).rejects.toThrow('reads no more')
  })
})
