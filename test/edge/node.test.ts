/** The server of Node, spoken to over sockets: clients that behave badly, and a stop. */
import { once } from 'node:events'
import { connect } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
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

/** What comes back until the server closes, or `done` says that it is enough. */
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

test('a connection that is closed from one side only is one that was left', async () => {
  const body = JSON.stringify(chatBody({ max_tokens: 900 }))
  const { decode_tokens } = engine.stats
  await raw(post(body, `content-length: ${body.length}\r\n`), { end: true })
  await untilFree()
  expect(engine.stats.decode_tokens - decode_tokens).toBeLessThan(890)
  expect((await fetch(`${serving.url}/healthz`)).status).toBe(200)
})

test('a body that does not come is not waited for', async () => {
  const got = await raw(post('{"model"', 'content-length: 1000\r\n'), { done: (text) => text.includes('timeout') })
  expect(got).toMatch(/^HTTP\/1.1 408 /)
})

test('a socket that is torn down in the middle of a stream frees its pages', async () => {
  const body = JSON.stringify(chatBody({ stream: true, max_tokens: 900 }))
  await raw(post(body, `content-length: ${body.length}\r\n`), { done: (text) => text.includes('data: ') })
  await untilFree()
  expect(engine.stats.pages_in_use).toBe(engine.stats.prefix_pages)
})

test('what is no HTTP is refused, and others are served', async () => {
  expect(await raw('hello\r\n\r\n')).toMatch(/^HTTP\/1.1 400/)
  expect((await fetch(`${serving.url}/healthz`)).status).toBe(200)
})

test('a stop waits for the answer that is being written; a taken address is told', async () => {
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
