/**
 * A hub on 127.0.0.1 that misbehaves on demand: it serves ranges, cuts, stalls, lies and refuses.
 */
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Behaviour {
  /** Ends the connection after this many bytes of each answer. */
  cutAfter?: number
  /** Sends this many bytes and then nothing. */
  stallAfter?: number
  /** Answers with this status, this many times. */
  status?: { code: number; times: number }
  /** Serves other bytes than promised. */
  corrupt?: boolean
  /** Ignores Range. */
  noRanges?: boolean
  /** Changes the API's answer to a request, by its path. */
  answer?: (path: string, body: unknown) => unknown
  /** Makes the API's answers endless. */
  endless?: boolean
}

export interface MockHub {
  readonly url: string
  readonly behaviour: Behaviour
  /** Range headers of the file requests so far; '' for a whole file. */
  readonly requests: string[]
  /** Replaces a file's content. */
  put(path: string, bytes: Uint8Array): void
  close(): Promise<void>
}

export const revision = 'a'.repeat(40)

/** Serves `files` as repository `owner/name` by the hub's API, and at `/resolve`. */
export async function mockHub(repo: string, files: Record<string, Uint8Array>): Promise<MockHub> {
  const contents = new Map(Object.entries(files))
  const behaviour: Behaviour = {}
  const requests: string[] = []
  const info = (path: string) => {
    const bytes = contents.get(path)!
    return {
      type: 'file',
      path,
      size: bytes.length,
      oid: 'b'.repeat(40),
      lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 130 },
    }
  }
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const { pathname } = new URL(request.url!, 'http://hub')
    const json = (value: unknown) => {
      response.setHeader('content-type', 'application/json')
      if (behaviour.endless) return void pour(response)
      return response.end(JSON.stringify(behaviour.answer ? behaviour.answer(pathname, value) : value))
    }
    if (pathname === `/api/models/${repo}/revision/main` || pathname === `/api/models/${repo}`)
      return json({
        _id: '1',
        id: repo,
        sha: revision,
        private: false,
        gated: false,
        downloads: 0,
        likes: 0,
        lastModified: '2026-01-01',
      })
    if (pathname.startsWith(`/api/models/${repo}/tree/`)) return json([...contents.keys()].map(info))
    if (pathname.startsWith(`/api/models/${repo}/paths-info/`)) {
      const body = await text(request)
      const wanted: string[] = JSON.parse(body).paths
      return json(wanted.filter((path) => contents.has(path)).map(info))
    }
    const file = decodeURIComponent(pathname.split(`/${repo}/resolve/${revision}/`)[1] ?? '')
    const bytes = contents.get(file)
    if (!bytes) return response.writeHead(404).end('no such file')
    serve(request, response, bytes)
  }
  const serve = (request: IncomingMessage, response: ServerResponse, bytes: Uint8Array) => {
    requests.push(request.headers.range ?? '')
    const { status } = behaviour
    if (status && status.times-- > 0) return response.writeHead(status.code, { 'retry-after': '0' }).end()
    const etag = `"${sha256(bytes)}"`
    const range = /^bytes=(\d+)-$/.exec(request.headers.range ?? '')
    const valid = range && !behaviour.noRanges && (request.headers['if-range'] ?? etag) === etag
    const from = valid ? Number(range[1]) : 0
    const part = behaviour.corrupt ? bytes.slice(from).fill(7) : bytes.slice(from)
    response.writeHead(valid ? 206 : 200, {
      etag,
      'content-length': part.length,
      ...(valid && { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` }),
    })
    const { cutAfter, stallAfter } = behaviour
    if (cutAfter !== undefined && cutAfter < part.length) {
      // The connection ends later than the bytes, as on a real network: a client may lose bytes
      // that it has not read.
      response.write(part.subarray(0, cutAfter), () => setTimeout(() => response.destroy(), 40))
    } else if (stallAfter !== undefined && stallAfter < part.length) {
      response.flushHeaders()
      if (stallAfter > 0) response.write(part.subarray(0, stallAfter))
    } else response.end(part)
  }
  const server = createServer((request, response) => void answer(request, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    behaviour,
    requests,
    put: (path, bytes) => contents.set(path, bytes),
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

async function pour(response: ServerResponse): Promise<void> {
  response.write('[')
  while (!response.destroyed) {
    if (response.write(' '.repeat(1 << 16))) continue
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}

async function text(request: IncomingMessage): Promise<string> {
  let body = ''
  for await (const chunk of request) body += chunk
  return body
}
