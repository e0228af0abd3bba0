/** `fetch` for downloads: what it follows, sends on and forgets. */
import http, { type IncomingMessage, type ServerResponse } from 'node:http'
import { type AddressInfo, createServer } from 'node:net'
import { gzipSync } from 'node:zlib'
import { afterEach, describe, expect, test } from 'vitest'
import { httpFetch, peerFetch } from '../../node/http.ts'

const open: { close(): unknown; closeAllConnections?(): void }[] = []
afterEach(() => {
  for (const server of open.splice(0)) {
    server.close()
    server.closeAllConnections?.()
  }
})

async function serve(answer: (request: IncomingMessage, response: ServerResponse) => unknown): Promise<string> {
  const server = http.createServer((request, response) => void answer(request, response))
  open.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

async function size(response: Response, slow = 0): Promise<number> {
  let bytes = 0
  for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
    bytes += chunk.length
    if (slow > 0) await new Promise((resolve) => setTimeout(resolve, slow))
  }
  return bytes
}

describe('a slow reader', () => {
  test.each(['', 'content-length: 600000\r\n'])(
    'of an answer that ends with its connection gets all of it (%j)',
    async (length) => {
      const server = createServer((socket) => {
        socket.on('error', () => {})
        socket.once('data', () => {
          socket.write(`HTTP/1.1 200 OK\r\nconnection: close\r\n${length}\r\n`)
          socket.end(Buffer.alloc(600_000))
        })
      })
      open.push(server)
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
      for (let n = 0; n < 5; n++) expect(await size(await httpFetch(url), 3)).toBe(600_000)
    },
  )

  test('slows the server down, and can release it', async () => {
    let sent = 0
    let gone: () => void = () => {}
    const closed = new Promise<void>((resolve) => (gone = resolve))
    const url = await serve((_, response) => {
      response.on('close', gone)
      const more = () => {
        while (!response.destroyed && response.write(new Uint8Array(1 << 16))) sent += 1 << 16
        if (!response.destroyed) setTimeout(more, 1)
      }
      more()
    })
    const response = await httpFetch(url)
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(sent).toBeLessThan(40e6)
    await response.body!.cancel()
    await closed
  })
})

test('redirects are followed; secrets are sent to the first origin only', async () => {
  const seen: string[] = []
  const second = await serve((request, response) => {
    seen.push(`${request.method} ${request.headers.authorization}`)
    response.end('there')
  })
  const first = await serve((request, response) => {
    seen.push(`${request.method} ${request.headers.authorization}`)
    const location = request.url === '/' ? '/again' : `${second}/end`
    response.writeHead(request.url === '/' ? 307 : 302, { location }).end()
  })
  const headers = { authorization: 'Bearer x', 'content-type': 'text/plain' }
  const response = await httpFetch(first, { method: 'POST', body: 'text', headers })
  expect([await response.text(), response.url]).toEqual(['there', `${second}/end`])
  expect(seen).toEqual(['POST Bearer x', 'POST Bearer x', 'GET undefined'])
  const round = await serve((_, response) => response.writeHead(302, { location: '/' }).end())
  await expect(httpFetch(round)).rejects.toThrow('redirects')
  const file = await serve((_, response) => response.writeHead(302, { location: 'file:///etc/passwd' }).end())
  await expect(httpFetch(file)).rejects.toThrow('file:')
})

test('encoded bodies are decoded, and fail where they are truncated', async () => {
  const whole = gzipSync(Buffer.alloc(100_000, 'abc'))
  const url = await serve((request, response) => {
    response.setHeader('content-encoding', 'gzip')
    response.end(request.url === '/cut' ? whole.subarray(0, -20) : whole)
  })
  expect(await size(await httpFetch(url))).toBe(100_000)
  await expect(size(await httpFetch(`${url}/cut`))).rejects.toThrow(/unexpected end/)
})

test('a signal ends a request before the answer, in the middle of it, and at once', async () => {
  const url = await serve((request, response) => {
    if (request.url === '/begun') response.write('some')
  })
  const control = new AbortController()
  const waiting = httpFetch(url, { signal: control.signal })
  const begun = await httpFetch(`${url}/begun`, { signal: control.signal })
  const unread = await httpFetch(`${url}/begun`, { signal: control.signal })
  const reading = size(begun)
  control.abort(new Error('enough'))
  await expect(waiting).rejects.toThrow('enough')
  await expect(reading).rejects.toThrow('enough')
  await expect(unread.text()).rejects.toThrow('enough')
  await expect(httpFetch(url, { signal: control.signal })).rejects.toThrow('enough')
})

describe('a companion', () => {
  test('gets a body of bytes, without a proxy, and its redirects are not followed', async () => {
    const bodies: string[] = []
    const url = await serve(async (request, response) => {
      const pieces: Buffer[] = []
      for await (const piece of request) pieces.push(piece)
      bodies.push(Buffer.concat(pieces).toString())
      response.writeHead(307, { location: 'http://127.0.0.1:1/elsewhere' }).end('moved')
    })
    const proxies = { HTTP_PROXY: 'http://127.0.0.1:1', http_proxy: 'http://127.0.0.1:1', NO_PROXY: '', no_proxy: '' }
    const saved = { ...process.env }
    Object.assign(process.env, proxies)
    try {
      const body = new TextEncoder().encode('{"ids":[1,2]}')
      const response = await peerFetch(url, { method: 'POST', body, redirect: 'manual' })
      expect(response.status).toBe(307)
      expect(await response.text()).toBe('moved')
      expect(bodies).toEqual(['{"ids":[1,2]}'])
    } finally {
      process.env = saved
    }
  })
})
