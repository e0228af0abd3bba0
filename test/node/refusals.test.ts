/**
 * Downloads that are not retried: addresses that lead nowhere, and servers that will not be
 * available within this run. Mirrors of the hub are tried.
 */
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { download } from '../../node/download.ts'
import { pullModel } from '../../node/index.ts'
import { fileServer } from '../helpers/file-server.ts'
import { mockHub } from '../helpers/mock-hub.ts'
import { stubCache } from '../helpers/own-cache.ts'
import { tinyGguf } from '../helpers/tiny-model.ts'

let folder: string
const servers: Server[] = []
let requests: string[]
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'foretoken-refusals-'))
  requests = []
})
afterEach(async () => {
  vi.unstubAllEnvs()
  for (const server of servers.splice(0)) {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  }
  await rm(folder, { recursive: true, force: true })
})

/** Starts a server that records its requests. */
async function serve(listener: RequestListener): Promise<string> {
  const server = createServer((request, response) => {
    requests.push(request.url!)
    listener(request, response)
  })
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const target = () => join(folder, 'm.gguf')
/** Would wait for minutes if it retried. */
const get = (url: string) => download({ url: `${url}/m.gguf`, target: target(), backoffMs: 600_000 })

describe('a redirect', () => {
  test.each([
    'file:///etc/passwd',
    'data:application/octet-stream;base64,R0dVRg==',
    'ftp://127.0.0.1/m.gguf',
    'blob:http://127.0.0.1/1',
    'javascript:0',
    'gopher://127.0.0.1/',
  ])('to %s is refused by name, at once', async (location) => {
    const url = await serve((_, response) => response.writeHead(302, { location }).end())
    const scheme = location.slice(0, location.indexOf(':') + 1)
    await expect(get(url)).rejects.toMatchObject({
      code: 'network',
      message: expect.stringContaining(`a redirect to ${scheme} is refused`),
    })
    expect(requests).toHaveLength(1)
    expect(existsSync(target())).toBe(false)
  })

  test('to an invalid address is refused', async () => {
    const url = await serve((_, response) => response.writeHead(301, { location: 'http://[' }).end())
    await expect(get(url)).rejects.toMatchObject({
      code: 'network',
      message: expect.stringContaining('not an address'),
    })
    expect(requests).toHaveLength(1)
  })

  test.each([
    ['itself', ['/m.gguf']],
    ['two that lead to each other', ['/a', '/b']],
  ])('to %s is recognised as a loop', async (_, places) => {
    let at = 0
    const url = await serve((_, response) => response.writeHead(307, { location: places[at++ % places.length]! }).end())
    await expect(get(url)).rejects.toMatchObject({ code: 'network', message: expect.stringContaining('in a circle') })
    expect(requests.length).toBeLessThan(5)
  })

  test('to ever new addresses ends after ten', async () => {
    const url = await serve(({ url }, response) => response.writeHead(302, { location: `${url}x?secret=1` }).end())
    const error = await get(url).catch((caught: unknown) => caught)
    expect(error).toMatchObject({ code: 'network', message: expect.stringContaining('more than 10 redirects') })
    expect((error as Error).message).not.toContain('secret')
    expect(requests).toHaveLength(11)
  })
})

describe('`retry-after`', () => {
  test.each([
    ['1000000000', /asks to wait 11575 days, more than the 60 s/],
    ['61', /asks to wait 2 minutes/],
    [new Date(Date.now() + 9 * 3_600_000).toUTCString(), /asks to wait 9 hours/],
    ['Fri, 31 Dec 9999 23:59:59 GMT', /asks to wait \d+ days/],
    ['9'.repeat(400), /asks to wait Infinity days/],
  ])('of %s exceeds the longest wait: reported at once', async (retryAfter, words) => {
    const server = await fileServer([new Uint8Array(10)], [{ status: 503, retryAfter }])
    const begun = performance.now()
    const error = await download({ url: server.url, target: target() }).catch((caught: unknown) => caught)
    expect(error).toMatchObject({ code: 'network', message: expect.stringMatching(words) })
    expect(server.ranges).toHaveLength(1)
    expect(performance.now() - begun).toBeLessThan(30_000)
    await server.close()
  })

  test.each(['-1', '-1000000000', '0', 'NaN', 'Infinity', '1e9', '1.5', 'soon', '', new Date(0).toUTCString()])(
    'of %s is not a valid wait: the usual delay applies',
    async (retryAfter) => {
      const server = await fileServer([new Uint8Array(10).fill(1)], [{ status: 503, retryAfter }, {}])
      await download({ url: server.url, target: target(), backoffMs: 1 })
      expect(server.ranges).toHaveLength(2)
      await server.close()
    },
  )

  test('beyond the longest wait leaves what has arrived for a later run', async () => {
    const bytes = new Uint8Array(200_000).fill(3)
    const server = await fileServer([bytes], [{ cut: 0.5 }, { status: 503, retryAfter: '100000' }])
    await expect(download({ url: server.url, target: target(), backoffMs: 1 })).rejects.toMatchObject({
      code: 'network',
    })
    server.script([{}])
    await download({ url: server.url, target: target() })
    expect(server.ranges.at(-1)).toMatch(/^bytes=\d+-$/)
    expect(Buffer.compare(await readFile(target()), bytes)).toBe(0)
    await server.close()
  })
})

test('HF_ENDPOINT may be a mirror below a path, with a trailing slash, that serves files from elsewhere', async () => {
  const bytes = tinyGguf()
  const hub = await mockHub('owner/tiny', { 'm.gguf': bytes })
  const mirror = await serve(async (request, response) => {
    const path = request.url!
    if (!path.startsWith('/hub/hf/')) return response.writeHead(404).end()
    const there = `${hub.url}${path.slice('/hub/hf'.length)}`
    if (path.includes('/resolve/')) return response.writeHead(302, { location: there }).end()
    const body = request.method === 'POST' ? Buffer.concat(await request.toArray()) : undefined
    const { 'content-type': type = 'application/json' } = request.headers
    const answer = await fetch(there, {
      method: request.method!,
      headers: { 'content-type': type },
      ...(body && { body }),
    })
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(await answer.text())
  })
  stubCache(folder, `${mirror}/hub/hf/`)
  const model = await pullModel('hf:owner/tiny')
  expect(Buffer.compare(await readFile(model.files[0]!.path), bytes)).toBe(0)
  expect(requests.every((path) => path.startsWith('/hub/hf/'))).toBe(true)
  await hub.close()
})

test.each(['ftp://mirror.example', 'mirror.example', 'file:///models'])(
  'HF_ENDPOINT of %s is refused by name',
  async (text) => {
    stubCache(folder, text)
    await expect(pullModel('hf:owner/tiny')).rejects.toMatchObject({
      code: 'bad_argument',
      message: expect.stringContaining('HF_ENDPOINT'),
    })
  },
)
