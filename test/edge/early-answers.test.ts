/** Answers that come before the body has: whatever the client is, it can read them. */
import { execFile, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createApp, type Serving, serveNode } from '../../edge/node.ts'
import type { Engine } from '../../src/index.ts'
import { sha256, testKeys, tinyEngine } from '../helpers/tiny-server.ts'

const script = fileURLToPath(new URL('hosts/early-answers.py', import.meta.url))
const size = 64 << 20
const chat = '/v1/chat/completions'
let engine: Engine
let serving: Serving
let stopping: Serving

beforeAll(async () => {
  engine = await tinyEngine()
  const config = { keys: [{ sha256: sha256(testKeys.one) }], limits: { bodySeconds: 1 } }
  serving = await serveNode({ fetch: createApp({ engine, config }).fetch, port: 0 })
  const drain = AbortSignal.abort()
  stopping = await serveNode({ fetch: createApp({ engine, config, drain }).fetch, port: 0 })
})
afterAll(async () => {
  await Promise.all([serving.close(100), stopping.close(100)])
  await engine.close()
})

const good = { authorization: `Bearer ${testKeys.one}`, 'content-type': 'application/json' }

/** Each is answered before a body of 64 MB has arrived. */
const refusals: [string, () => Serving, string, Record<string, string>, number, string][] = [
  ['too large', () => serving, chat, good, 413, 'body_too_large'],
  ['no key', () => serving, chat, { ...good, authorization: 'Bearer nobody' }, 401, 'invalid_api_key'],
  ['no such route', () => serving, '/v1/nothing', good, 404, 'not_found'],
  ['not JSON', () => serving, chat, { ...good, 'content-type': 'text/plain' }, 415, 'unsupported_media_type'],
  ['stopping', () => stopping, chat, good, 503, 'stopping'],
]

function pieces(): ReadableStream<Uint8Array> {
  let left = size
  return new ReadableStream({
    pull(out) {
      out.enqueue(new Uint8Array(65_536).fill(0x20))
      left -= 65_536
      if (left === 0) out.close()
    },
  })
}

describe.each(refusals)('a body of 64 MB, %s', (_, server, path, headers, status, code) => {
  test.each(['with its length', 'in chunks'])('fetch, %s', async (how) => {
    const body = how === 'in chunks' ? pieces() : new Uint8Array(size).fill(0x20)
    const init = { method: 'POST', headers, body, duplex: 'half' } as RequestInit
    const response = await fetch(`${server().url}${path}`, init)
    expect(response.status).toBe(status)
    expect((await response.json()).error.code).toBe(code)
  })

  const python = spawnSync('python3', ['--version']).status === 0
  test(python ? 'Python’s http.client' : 'left out: there is no python3', async () => {
    if (!python) return
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`)
    const args = [script, server().url, path, String(size), ...lines]
    const { stdout } = await promisify(execFile)('python3', args)
    expect(JSON.parse(stdout)).toEqual([
      [status, code],
      [status, code],
    ])
  })

  const curl = spawnSync('curl', ['--version']).status === 0
  test(curl ? 'curl, which asks before it sends' : 'left out: there is no curl', async () => {
    if (!curl) return
    const lines = Object.entries({ ...headers, expect: '100-continue' }).flatMap((pair) => ['-H', pair.join(': ')])
    const asked = promisify(execFile)('curl', ['-sS', '--data-binary', '@-', '-i', ...lines, `${server().url}${path}`])
    asked.child.stdin!.on('error', () => {})
    asked.child.stdin!.end(Buffer.alloc(size, 0x20))
    const { stdout } = await asked
    expect(stdout).toMatch(new RegExp(`^HTTP/1.1 ${status} `))
    expect(stdout).toContain(`"code":"${code}"`)
  })
})

/**
 * Returns everything received on one connection, to its end; each part is sent once the answer so
 * far contains its text.
 */
async function raw(parts: readonly (readonly [after: string, text: string])[]): Promise<string> {
  const { hostname, port } = new URL(serving.url)
  const socket = connect(Number(port), hostname)
  socket.on('error', () => {})
  await once(socket, 'connect')
  let got = ''
  const left = [...parts]
  const send = () => {
    while (left[0] && got.includes(left[0][0])) socket.write(left.shift()![1])
  }
  send()
  socket.setEncoding('utf8')
  for await (const piece of socket) {
    got += piece
    send()
  }
  return got
}

const head = (more: string, key: string = testKeys.one) =>
  `POST ${chat} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${key}\r\ncontent-type: application/json\r\n${more}\r\n`

test('a body that arrives too late gets an error, and its connection closes', async () => {
  const got = await raw([['', `${head('content-length: 1000\r\n')}{"model"`]])
  expect(got).toMatch(/^HTTP\/1.1 408 /)
  expect(got.toLowerCase()).toContain('connection: close')
})

test('`Expect: 100-continue` is confirmed only where the body is read', async () => {
  const body = JSON.stringify({ model: 'tiny', messages: [{ role: 'user', content: 'x' }], max_tokens: 1 })
  const expects = `expect: 100-continue\r\nconnection: close\r\ncontent-length: ${body.length}\r\n`
  expect(
    await raw([
      ['', head(expects)],
      ['100 Continue', body],
    ]),
  ).toMatch(/^HTTP\/1.1 100 Continue\r\n\r\nHTTP\/1.1 200 OK/)
  expect(await raw([['', head(expects, 'nobody')]])).toMatch(/^HTTP\/1.1 401 /)
  expect(await raw([['', head(expects.replace(String(body.length), '9999999'))]])).toMatch(/^HTTP\/1.1 413 /)
})

test('requests after a refused body on its connection are not answered', async () => {
  const got = await raw([
    ['', `${head('content-length: 9999999\r\n')}${' '.repeat(9_999_999)}${head('content-length: 2\r\n')}{}`],
  ])
  expect(got.match(/HTTP\/1.1 /g)).toHaveLength(1)
})
