/**
 * A server of one file on 127.0.0.1 that answers each request by the next step of a script,
 * correctly or not.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import { sha256 } from './mock-hub.ts'

export interface Step {
  /** The version served from this request on. */
  readonly version?: number
  /** Answers with this status instead of the file. `302` redirects to the file at another path. */
  readonly status?: 302 | 400 | 416 | 429 | 500 | 503
  readonly retryAfter?: string
  readonly etag?: 'strong' | 'weak' | 'none'
  /** Whether the date is long ago, or that of the answer. */
  readonly lastModified?: 'old' | 'fresh' | 'none'
  /** `blind` sends a range whatever `If-Range` says; `other` sends another range than requested. */
  readonly ranges?: 'right' | 'ignored' | 'blind' | 'other'
  /**
   * How the length is given; `close` uses neither a length nor chunks, only the connection's end.
   */
  readonly length?: 'told' | 'chunked' | 'close'
  readonly gzip?: boolean
  readonly type?: string
  /**
   * Ends the connection after this share of the answer's bytes, of which the client may have read
   * fewer.
   */
  readonly cut?: number
  /** Sends nothing after this share of the answer's bytes. */
  readonly stall?: number
  /** Continues after the file's bytes without end. */
  readonly endless?: boolean
}

export interface FileServer {
  readonly url: string
  /** Range headers of the requests so far; '' for a whole file. */
  readonly ranges: string[]
  /** Versions served, in order. */
  readonly versions: number[]
  /** Number of bytes written to clients. */
  readonly sent: () => number
  script(steps: readonly Step[]): void
  close(): Promise<void>
}

/** Serves `files` as versions of one file. The last step of the script repeats. */
export async function fileServer(files: readonly Uint8Array[], steps: readonly Step[] = []): Promise<FileServer> {
  let script = [...steps]
  let version = 0
  let sent = 0
  const ranges: string[] = []
  const versions: number[] = []
  const answer = (request: IncomingMessage, response: ServerResponse) => {
    const step = (script.length > 1 ? script.shift() : script[0]) ?? {}
    version = step.version ?? version
    ranges.push(request.headers.range ?? '')
    if (step.status) {
      const headers = { ...(step.retryAfter && { 'retry-after': step.retryAfter }), location: '/elsewhere/m.gguf' }
      return response.writeHead(step.status, headers).end('not the file')
    }
    versions.push(version)
    serve(step, files[version]!, request, response)
  }
  const serve = (step: Step, bytes: Uint8Array, request: IncomingMessage, response: ServerResponse) => {
    const tag = `"${sha256(bytes).slice(0, 16)}"`
    const { etag = 'strong', lastModified = 'none', ranges = 'right', length = 'told', cut, stall, endless } = step
    const headers: Record<string, string> = {}
    if (etag !== 'none') headers.etag = etag === 'weak' ? `W/${tag}` : tag
    if (lastModified !== 'none')
      headers['last-modified'] = new Date(
        lastModified === 'old' ? 1.7e12 + 1e6 * version : Math.floor(Date.now() / 1000) * 1000,
      ).toUTCString()
    const asked = /^bytes=(\d+)-$/.exec(request.headers.range ?? '')
    const condition = request.headers['if-range']
    const same = condition === undefined || condition === headers.etag || condition === headers['last-modified']
    const partial = asked && ranges !== 'ignored' && (same || ranges === 'blind')
    const from = partial ? Math.min(Number(asked[1]), bytes.length) + (ranges === 'other' ? 1 : 0) : 0
    if (partial && from >= bytes.length) return response.writeHead(416).end()
    if (partial) headers['content-range'] = `bytes ${from}-${bytes.length - 1}/${bytes.length}`
    if (step.gzip) headers['content-encoding'] = 'gzip'
    if (step.type) headers['content-type'] = step.type
    const body = step.gzip ? gzipSync(bytes.subarray(from)) : bytes.subarray(from)
    if (length === 'told' && !endless) headers['content-length'] = String(body.length)
    if (length === 'close') {
      response.useChunkedEncodingByDefault = false
      headers.connection = 'close'
    }
    response.writeHead(partial ? 206 : 200, headers)
    const part = body.subarray(0, Math.floor((cut ?? stall ?? 1) * body.length))
    sent += part.length
    if (endless) void pour(response)
    else if (stall !== undefined) response.write(part)
    else if (cut === undefined) response.end(part)
    else {
      // The connection ends later than the bytes, as on a real network: a client may lose bytes
      // that it has not read.
      const end = () => setTimeout(() => response.destroy(), 100)
      if (part.length > 0) response.write(part, end)
      else response.flushHeaders()
      if (part.length === 0) end()
    }
  }
  const pour = async (response: ServerResponse) => {
    const piece = new Uint8Array(1 << 16)
    while (!response.destroyed) {
      sent += piece.length
      if (!response.write(piece)) await new Promise((resolve) => setTimeout(resolve, 2))
    }
  }
  const server = createServer(answer)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/m.gguf`,
    ranges,
    versions,
    sent: () => sent,
    script(next) {
      script = [...next]
    },
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
