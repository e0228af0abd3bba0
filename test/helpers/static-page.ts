/**
 * Serves the page as static files, with control over its answers, and records which bytes were
 * requested.
 */
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type BrowserContextOptions, chromium as driver, type Page } from 'playwright-core'
import { chromium } from '../../scripts/chromium.mjs'
import { builtPage } from './built-command.ts'
import { browserFlags } from './page.ts'
import { tinyGguf } from './tiny-model.ts'

export type Handler = (request: IncomingMessage, response: ServerResponse) => unknown

export interface StaticPage {
  readonly url: string
  readonly model: Buffer
  /**
   * Handlers by path; they take precedence over the server's files. An endpoint is put at
   * `/v1/...`.
   */
  readonly handlers: Map<string, Handler>
  /** Path, method, and headers of all that was asked for. */
  readonly seen: { readonly path: string; readonly headers: IncomingMessage['headers']; body: string }[]
  /** Whether the server closes every connection. */
  down: boolean
  visit(options?: BrowserContextOptions): Promise<Page>
  /** Removes handlers and recorded requests. */
  reset(): void
  close(): Promise<void>
}

const types: Readonly<Record<string, string>> = {
  html: 'text/html; charset=utf-8',
  js: 'text/javascript',
  css: 'text/css',
  svg: 'image/svg+xml',
  wasm: 'application/wasm',
}

export const modelPath = '/page/model/tiny.gguf'

export async function staticPage(): Promise<StaticPage> {
  const files = await builtPage()
  const model = Buffer.from(tinyGguf({ layers: 2, context: 2048 }))
  const handlers = new Map<string, Handler>()
  const seen: StaticPage['seen'] = []
  const server = createServer((request, response) => {
    if (world.down) return request.socket.destroy()
    const path = new URL(request.url!, 'http://page').pathname
    const entry = { path, headers: request.headers, body: '' }
    seen.push(entry)
    request.on('data', (bytes) => (entry.body += bytes))
    const answer = handlers.get(path) ?? handlers.get(`${request.method} ${path}`)
    if (answer) return request.on('end', () => answer(request, response))
    if (path === modelPath) return sendModel(model)(request, response)
    if (path === '/page/model.json') return sendJson(response, manifestOf(model))
    const name = path === '/' ? 'index.html' : path.slice(1)
    const file = files.get(name)
    if (!file) return response.writeHead(404).end()
    const type = types[name.slice(name.lastIndexOf('.') + 1)]!
    return response.writeHead(200, { ...isolated, 'content-type': type, 'cache-control': 'no-cache' }).end(file)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const browser = await driver.launch({ executablePath: chromium(), args: browserFlags })
  const world: StaticPage = {
    down: false,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    model,
    handlers,
    seen,
    async visit(options = {}) {
      const page = await (await browser.newContext(options)).newPage()
      page.setDefaultTimeout(60_000)
      return page
    },
    reset() {
      handlers.clear()
      seen.length = 0
      world.down = false
    },
    async close() {
      await browser.close()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return world
}

export const isolated = {
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
  'cross-origin-resource-policy': 'same-origin',
}

export function sendJson(response: ServerResponse, value: unknown, status = 200): void {
  response.writeHead(status, { ...isolated, 'content-type': 'application/json' }).end(JSON.stringify(value))
}

export function manifestOf(model: Buffer, name = 'tiny') {
  const sha256 = createHash('sha256').update(model).digest('hex')
  return { name, files: [{ name: 'tiny.gguf', url: 'model/tiny.gguf', bytes: model.length, sha256 }] }
}

export interface Sending {
  readonly etag?: string
  /** Whether ranges are served; otherwise the whole file is sent. */
  readonly ranges?: boolean
  /** Whether `if-range` is honoured. */
  readonly ifRange?: boolean
  /** Sends nothing more after this many bytes of an answer. */
  readonly holdAfter?: number
}

/** Answers with a file as a static file server does. */
export function sendModel(bytes: Buffer, { etag, ranges = true, ifRange = true, holdAfter }: Sending = {}): Handler {
  return ({ headers }, response) => {
    const [, begin] = /^bytes=(\d+)-$/.exec(headers.range ?? '') ?? []
    const stale = ifRange && headers['if-range'] !== undefined && headers['if-range'] !== etag
    const from = begin === undefined || !ranges || stale ? 0 : Number(begin)
    const told = { ...isolated, 'content-type': 'application/octet-stream', ...(etag && { etag }) }
    if (from >= bytes.length) return response.writeHead(416, told).end()
    const rest = bytes.subarray(from)
    response.writeHead(from > 0 ? 206 : 200, {
      ...told,
      'content-length': rest.length,
      ...(from > 0 && { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` }),
    })
    if (holdAfter === undefined) return response.end(rest)
    return response.write(rest.subarray(0, holdAfter))
  }
}

/** Lists the requested ranges of the model, in order; undefined for the whole file. */
export function rangesOf({ seen }: StaticPage): (string | undefined)[] {
  return seen.filter(({ path }) => path === modelPath).map(({ headers }) => headers.range)
}
