/** The server of Node, spoken to over sockets: clients that behave badly, and a stop. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createApp, type Serving, serveNode } from '../../edge/node.ts'
import type { Engine } from '../../src/index.ts'
import { chatBody } from '../helpers/ask.ts'
import { sha256, testKeys, tinyEngine } from '../helpers/tiny-server.ts'

let engine: Engine
let serving: Serving
beforeAll(async () => {
  engine = await tinyEngine()
  const config = { keys: [{ sha256: sha256(testKeys.one) }], limits: { bodySeconds: 0.2 } }
  serving = await serveNode({ fetch: createApp({ engine, config }).fetch, port: 0 })
})
afterAll(async () => {
  await serving.close(100)
  await engine.close()
})

/** Returns the data received until the server closes, or `done` returns true. */
async function raw(
  text: string,
  { end = false, done = () => false }: { end?: boolean; done?: (got: string) => boolean } = {},
): Promise<string> {
  const { hostname, port } = new URL(serving.url)
  const socket = connect(Number(port), hostname)
  await once(socket, 'connect')
  if (end) socket.end(text)
  else socket.write(text)
  let got = ''
  socket.setEncoding('utf8')
  for await (const part of socket) {
    got += part
    if (done(got)) break
  }
  socket.destroy()
  return got
}

function post(body: string, more = ''): string {
  return `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${testKeys.one}\r\ncontent-type: application/json\r\n${more}\r\n${body}`
}

const free = () => engine.stats.running === 0 && engine.stats.waiting === 0

async function untilFree(): Promise<void> {
  while (!free()) await new Promise((resolve) => setTimeout(resolve, 5))
}

test('a half-closed connection counts as disconnected', async () => {
  const body = JSON.stringify(chatBody({ max_tokens: 900 }))
  const { decode_tokens } = engine.stats
  await raw(post(body, `content-length: ${body.length}\r\n`), { end: true })
  await untilFree()
  expect(engine.stats.decode_tokens - decode_tokens).toBeLessThan(890)
  expect((await fetch(`${serving.url}/healthz`)).status).toBe(200)
})

test('a body that does not arrive is not waited for', async () => {
  const got = await raw(post('{"model"', 'content-length: 1000\r\n'), { done: (text) => text.includes('timeout') })
  expect(got).toMatch(/^HTTP\/1.1 408 /)
})

test('a socket torn down in the middle of a stream frees its pages', async () => {
  const body = JSON.stringify(chatBody({ stream: true, max_tokens: 900 }))
  await raw(post(body, `content-length: ${body.length}\r\n`), { done: (text) => text.includes('data: ') })
  await untilFree()
  expect(engine.stats.pages_in_use).toBe(engine.stats.prefix_pages)
})

test('a stream is chunked for HTTP/1.1, and ends with its connection for HTTP/1.0, which has no chunks', async () => {
  const body = JSON.stringify(chatBody({ stream: true, max_tokens: 3 }))
  const asked = post(body, `content-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n`)
  const chunked = await raw(asked)
  expect(chunked).toMatch(/^HTTP\/1.1 200 /)
  expect(chunked.match(/^transfer-encoding: chunked\r$/gim)).toHaveLength(1)
  const plain = await raw(asked.replace('HTTP/1.1', 'HTTP/1.0'))
  expect(plain).toMatch(/^HTTP\/1.1 200 /)
  expect(plain).not.toMatch(/transfer-encoding/i)
  expect(plain).toMatch(/\r\n\r\ndata: .*data: \[DONE\]\n\n$/s)
})

test('input that is not HTTP is refused, and other connections are served', async () => {
  expect(await raw('hello\r\n\r\n')).toMatch(/^HTTP\/1.1 400/)
  expect((await fetch(`${serving.url}/healthz`)).status).toBe(200)
})

test('a stop waits for the answer in progress; an address in use is reported', async () => {
  const second = await serveNode({ fetch: createApp({ engine, config: { listen: 'loopback' } }).fetch, port: 0 })
  const { port } = new URL(second.url)
  await expect(serveNode({ fetch: () => new Response(), port: Number(port) })).rejects.toMatchObject({ code: 'io' })
  const response = await fetch(`${second.url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(chatBody({ stream: true, max_tokens: 100 })),
  })
  const closing = second.close()
  expect(await response.text()).toContain('[DONE]')
  await closing
  await expect(fetch(`${second.url}/healthz`)).rejects.toThrow()
})

describe('unauthenticated bodies', () => {
  /** Sends what it can of `size` bytes for an answer that comes at once; resolves with the bytes that left before the connection ended. */
  async function pour(url: string, size: number): Promise<number> {
    const { hostname, port } = new URL(url)
    // The answer announces that the connection closes; the client keeps sending.
    const socket = connect({ port: Number(port), host: hostname, allowHalfOpen: true })
    const closed = new Promise((resolve) => socket.once('close', resolve))
    socket.on('error', () => {})
    socket.resume()
    await once(socket, 'connect')
    socket.write(`POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: ${size}\r\n\r\n`)
    const piece = Buffer.alloc(1 << 16)
    for (let sent = 0; sent < size && !socket.destroyed; sent += piece.length)
      if (!socket.write(piece)) await Promise.race([once(socket, 'drain').catch(() => {}), closed])
    socket.end()
    await closed
    return socket.bytesWritten
  }

  test('are drained at a limited rate, shared by all connections', async () => {
    const config = { keys: [{ sha256: sha256(testKeys.one) }] }
    const { fetch } = createApp({ engine, config })
    const size = 8 << 20
    const rate = 4 * (20 << 20)
    const own = await serveNode({ fetch, port: 0, drainedBytesPerMinute: rate })
    try {
      let all = 0
      for (let at = 0; at < 8; at++) all += await pour(own.url, size)
      // A quarter of the rate at once, what it fills by meanwhile, and what buffers of the system hold of those that are cut off.
      expect(all).toBeGreaterThan(2 * size)
      expect(all).toBeLessThan(7 * size)
    } finally {
      await own.close(100)
    }
  })
})

describe('a stop during an upload', () => {
  const head = (length: number) =>
    `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${testKeys.one}\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n`

  /** A client that has sent a part of a body, and what it has read. */
  async function sending(
    url: string,
    text: string,
  ): Promise<{ socket: Socket; got: () => string; closed: Promise<unknown> }> {
    const { hostname, port } = new URL(url)
    const socket = connect(Number(port), hostname)
    let got = ''
    socket.setEncoding('utf8').on('data', (part) => (got += part))
    socket.on('error', () => {})
    await once(socket, 'connect')
    socket.write(text)
    return { socket, got: () => got, closed: new Promise((resolve) => socket.once('close', resolve)) }
  }

  test.each([
    ['whose rest does not come', 0],
    ['that comes on slowly', 50],
  ])('refuses a request %s at once, and the server ends', async (_, everyMs) => {
    const drain = new AbortController()
    const limits = { bodySeconds: 600, bodyBytesPerSecond: 0 }
    const config = { keys: [{ sha256: sha256(testKeys.one) }], limits }
    const app = createApp({ engine, config, drain: drain.signal })
    const own = await serveNode({ fetch: app.fetch, port: 0 })
    const { socket, got, closed } = await sending(own.url, `${head(100_000)}{"model"`)
    const timer = everyMs > 0 ? setInterval(() => socket.write(' '), everyMs) : undefined
    await new Promise((resolve) => setTimeout(resolve, 100))
    drain.abort()
    const before = performance.now()
    // The grace is far beyond what it may take: nothing but the stop itself ends it.
    await own.close(600_000)
    clearInterval(timer)
    await closed
    expect(got()).toMatch(/^HTTP\/1.1 503 /)
    expect(got()).toContain('"code":"stopping"')
    // Draining while stopping takes two seconds; 30 without a stop.
    expect(performance.now() - before).toBeLessThan(25_000)
  })

  test('ends after the grace period where the app does not support stopping', async () => {
    const limits = { bodySeconds: 600, bodyBytesPerSecond: 0 }
    const config = { keys: [{ sha256: sha256(testKeys.one) }], limits }
    const own = await serveNode({ fetch: createApp({ engine, config }).fetch, port: 0 })
    const { closed } = await sending(own.url, `${head(100_000)}{"model"`)
    await new Promise((resolve) => setTimeout(resolve, 100))
    await own.close(200)
    await closed
  })
})
