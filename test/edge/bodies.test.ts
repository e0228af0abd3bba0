/**
 * What bodies may hold while they arrive, of all requests together and of each tenant; and that
 * slow ones give way.
 */
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { readBytes } from '../../edge/body.ts'
import { configOf } from '../../edge/config.ts'
import { Bodies } from '../../edge/guard/bodies.ts'
import { createApp, type ServerConfig } from '../../edge/index.ts'
import type { App } from '../../edge/server.ts'
import type { Engine } from '../../src/index.ts'
import { ask, chatBody, refusal } from '../helpers/ask.ts'
import { testConfig, testKeys, tinyEngine } from '../helpers/tiny-server.ts'

let engine: Engine
beforeAll(async () => {
  engine = await tinyEngine()
})
afterAll(() => engine.close())

const open: ServerConfig = { listen: 'loopback' }
const MB = 1 << 20

async function metric(app: App, name: string): Promise<number> {
  const page = await ask(app, undefined, { path: '/metrics', headers: { host: 'localhost' } })
  return Number(new RegExp(`^${name} (.*)$`, 'm').exec(await page.text())![1])
}

/** A body that never ends, of which nothing has come but what `send` sends. */
function held(app: App, told?: number, key: string = testKeys.one) {
  let controller!: ReadableStreamDefaultController<Uint8Array>
  const raw = new ReadableStream<Uint8Array>({ start: (c) => void (controller = c) })
  const headers = { host: 'localhost', ...(told !== undefined && { 'content-length': String(told) }) }
  const response = ask(app, undefined, { raw, headers, key })
  return { response, send: (bytes: Uint8Array) => controller.enqueue(bytes), end: () => controller.close() }
}

/** Which have been refused by now, and which are still read. */
async function settled<H extends ReturnType<typeof held>>(all: readonly H[]) {
  const done = new Map<H, Response>()
  for (const one of all) void one.response.then((response) => done.set(one, response))
  await new Promise((resolve) => setTimeout(resolve, 10))
  return { refused: [...done.values()], left: all.filter((one) => !done.has(one)) }
}

const answer = async (app: App, key: string = testKeys.one) =>
  (await ask(app, chatBody(), { key, headers: { host: 'localhost' } })).status

describe('the budget of all bodies', () => {
  test('a declared length is reserved before a byte arrives, up to the limit', async () => {
    const app = createApp({ engine, config: { ...open, limits: { bodiesBytes: 4 * MB } } })
    const all = Array.from({ length: 50 }, () => held(app, MB - 20_000))
    await new Promise((resolve) => setTimeout(resolve, 10))
    expect(await metric(app, 'foretoken_body_bytes')).toBeLessThanOrEqual(4 * MB)
    const { refused, left } = await settled(all)
    expect(left).toHaveLength(4)
    for (const one of refused) expect(await refusal(one)).toMatchObject({ status: 503, code: 'busy' })
    // Held ones leave a small request its room.
    expect(await answer(app)).toBe(200)
    for (const { end } of left) end()
    for (const { response } of left) expect((await response).status).toBe(400)
    expect(await metric(app, 'foretoken_body_bytes')).toBe(0)
  })

  test('a body without a length reserves at most twice what has arrived, however small its pieces are', async () => {
    const app = createApp({ engine, config: open })
    const { response, send, end } = held(app)
    const text = JSON.stringify(chatBody({ messages: [{ role: 'user', content: 'x'.repeat(40_000) }] }))
    let sent = 0
    for (const byte of new TextEncoder().encode(text)) {
      send(Uint8Array.of(byte))
      if (++sent % 10_000 !== 0) continue
      await new Promise((resolve) => setTimeout(resolve, 5))
      expect(await metric(app, 'foretoken_body_bytes')).toBeLessThanOrEqual(2 * sent + 32_768)
    }
    end()
    expect(await refusal(await response)).toMatchObject({ status: 400, code: 'context_length_exceeded' })
    expect(await metric(app, 'foretoken_body_bytes')).toBe(0)
  })

  test('one tenant leaves a share to others', async () => {
    const app = createApp({ engine, config: { ...testConfig, limits: { bodiesBytes: 8 * MB } } })
    const all = Array.from({ length: 8 }, () => held(app, MB - 20_000))
    await new Promise((resolve) => setTimeout(resolve, 10))
    expect(await metric(app, 'foretoken_body_bytes')).toBeLessThanOrEqual(4 * MB)
    const { refused, left } = await settled(all)
    expect(left.length).toBeLessThanOrEqual(4)
    for (const { status } of refused) expect(status).toBe(429)
    const other = Array.from({ length: 2 }, () => held(app, MB - 20_000, testKeys.two))
    for (const { end } of [...left, ...other]) end()
    for (const { response } of other) expect((await response).status).toBe(400)
  })

  test('a client that disconnects releases its share', async () => {
    const app = createApp({ engine, config: open })
    for (let n = 0; n < 3; n++) {
      const raw = new ReadableStream<Uint8Array>({ start: (out) => out.error(new Error('reset')) })
      expect((await ask(app, undefined, { raw, headers: { host: 'localhost', 'content-length': '999' } })).status).toBe(
        400,
      )
    }
    expect(await metric(app, 'foretoken_body_bytes')).toBe(0)
  })

  test('a budget too small for four bodies is refused', () => {
    const config = (limits: object) => () => configOf({ ...open, limits })
    expect(config({ bodiesBytes: 4 * MB })).not.toThrow()
    expect(config({ bodiesBytes: 4 * MB - 1 })).toThrow(/four bodies/)
    expect(configOf({ ...open, limits: { bodyBytes: 64 * MB } }).limits.bodiesBytes).toBe(256 * MB)
  })
})

test.each(['bodySeconds', 'requestSeconds', 'stallSeconds'])('%s longer than a timer can count is refused', (name) => {
  const config = (seconds: number) => () => configOf({ ...open, limits: { [name]: seconds } })
  expect(config(2_000_000)).not.toThrow()
  expect(config(3_000_000)).toThrow(new RegExp(`${name}.*2147483`))
})

describe('slow bodies', () => {
  /** Room for four, and a clock. */
  function four() {
    let now = 0
    const bodies = new Bodies({ ...configOf({ ...open, limits: { bodiesBytes: 4 * MB } }).limits }, false, () => now)
    const evicted: number[] = []
    const rooms = Array.from({ length: 4 }, (_, index) => {
      const room = bodies.enter('')
      room.onEvict = () => evicted.push(index)
      room.expect(MB - 20_000)
      return room
    })
    const another = () => bodies.enter('').expect(MB / 2)
    return { bodies, rooms, evicted, another, pass: (ms: number) => void (now += ms) }
  }

  test('are dropped for others, the slowest first; fast ones are not', () => {
    const { bodies, rooms, evicted, another, pass } = four()
    expect(another).toThrow(/bodies take/)
    pass(1000)
    for (const [index, bytes] of [900_000, 70_000, 10_000, 20_000].entries()) rooms[index]!.arrived(bytes)
    another()
    expect(evicted).toEqual([2])
    another()
    another()
    expect(evicted).toEqual([2, 3])
    expect(another).toThrow(/bodies take/)
    expect(bodies.bytes).toBeLessThanOrEqual(4 * MB)
  })

  test('are judged by their recent rate, and not at all once complete', () => {
    const { rooms, evicted, another, pass } = four()
    pass(1000)
    for (const room of rooms) room.arrived(900_000)
    rooms[0]!.whole()
    pass(20_000)
    for (const room of rooms.slice(2)) room.arrived(900_000 * 20)
    another()
    expect(evicted).toEqual([1])
  })

  test('a dropped sender is told, and nothing is released twice', async () => {
    vi.useFakeTimers({ toFake: ['performance', 'setTimeout', 'clearTimeout'] })
    try {
      const app = createApp({ engine, config: { ...open, limits: { bodiesBytes: 4 * MB } } })
      const all = Array.from({ length: 4 }, () => held(app, MB - 20_000))
      await vi.advanceTimersByTimeAsync(2000)
      const next = held(app, MB - 20_000)
      await vi.advanceTimersByTimeAsync(1)
      expect(await refusal(await Promise.race(all.map(({ response }) => response)))).toMatchObject({
        status: 408,
        code: 'timeout',
        message: expect.stringContaining('other requests needed its memory'),
      })
      next.send(new TextEncoder().encode(JSON.stringify(chatBody())))
      next.end()
      await vi.advanceTimersByTimeAsync(1)
      expect((await next.response).status).toBe(200)
      for (const { end } of all)
        try {
          end()
        } catch {
          // That of the one that gave way is cancelled.
        }
      await Promise.all(all.map(({ response }) => response))
      expect(await metric(app, 'foretoken_body_bytes')).toBe(0)
    } finally {
      vi.useRealTimers()
    }
  })

  test.each([
    ['at the pace', 1024, undefined],
    ['below it', 1023, 408],
  ])('%s that is required', async (_, perSecond, status) => {
    vi.useFakeTimers({ toFake: ['performance', 'setTimeout', 'clearTimeout'] })
    try {
      let controller!: ReadableStreamDefaultController<Uint8Array>
      const body = new ReadableStream<Uint8Array>({ start: (c) => void (controller = c) })
      const request = new Request('http://app.test/', { method: 'POST', body, duplex: 'half' } as RequestInit)
      const read = readBytes(request, { bodyBytes: MB, bodySeconds: 30, bodyBytesPerSecond: 1024 })
      const failed = read.then(
        () => undefined,
        (error) => error.status,
      )
      for (let second = 0; second < 20; second++) {
        try {
          controller.enqueue(new Uint8Array(perSecond))
        } catch {
          break
        }
        await vi.advanceTimersByTimeAsync(1000)
      }
      if (status === undefined) controller.close()
      expect(await failed).toBe(status)
    } finally {
      vi.useRealTimers()
    }
  })
})

test.each(['before it is read', 'between two pieces'])('a body whose sender left %s reserves nothing', async (when) => {
  const held = async () =>
    /^foretoken_body_bytes (\d+)$/m.exec(await (await ask(server, undefined, { path: '/metrics' })).text())![1]
  const server = createApp({ engine, config: testConfig })
  const control = new AbortController()
  const pieces = [new Uint8Array(300_000).fill(0x20), new Uint8Array(300_000).fill(0x20)]
  if (when === 'before it is read') control.abort()
  const body = new ReadableStream<Uint8Array>(
    {
      pull(out) {
        const piece = pieces.shift()
        if (!piece) return out.close()
        if (pieces.length === 0) control.abort()
        out.enqueue(piece)
      },
    },
    { highWaterMark: 0 },
  )
  const request = new Request('http://app.test/v1/chat/completions', {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${testKeys.one}` },
    body,
    duplex: 'half',
    signal: control.signal,
  } as RequestInit)
  await (await server.fetch(request)).text()
  expect(await held()).toBe('0')
})
