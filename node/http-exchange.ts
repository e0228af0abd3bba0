/**
 * Implements `fetch` over `node:http`: requests, their redirects, tunnels through proxies, and
 * bodies as streams. Node's own `fetch` uses no proxy. If an answer ends its
 * connection while its reader is slow, it also fails an assertion that cannot be caught (undici
 * issue 5360).
 */
import http, { type IncomingMessage, type RequestOptions } from 'node:http'
import https from 'node:https'
import { isIP, type Socket } from 'node:net'
import type { Readable } from 'node:stream'
import tls from 'node:tls'
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib'
import { Misdirected } from './misdirected.ts'
import { proxyFor } from './proxy.ts'

/** Maximum number of redirects that are followed. */
const maxHops = 10

/** The request that is sent to each address. */
interface Query {
  readonly method: string
  readonly headers: Headers
  readonly body: string | Uint8Array | undefined
  readonly signal: AbortSignal | undefined
}

type ProxyFor = (url: URL) => URL | undefined

/**
 * Fetches through the environment's proxies, or directly. Rejects with the failure or with the
 * signal's reason. Encoded bodies are decoded, and fail if they are cut off.
 */
export function fetchOver(way: 'proxies' | 'direct', input: Parameters<typeof fetch>[0], init: RequestInit = {}) {
  return fetched(way === 'proxies' ? proxyFor : () => undefined, String(input), init)
}

async function fetched(proxyOf: ProxyFor, input: string, init: RequestInit): Promise<Response> {
  const signal = init.signal ?? undefined
  const { method = 'GET', headers, body } = init
  if (body !== undefined && body !== null && typeof body !== 'string' && !(body instanceof Uint8Array))
    throw new TypeError('only text and bytes can be sent')
  let query: Query = { method, headers: new Headers(headers), body: body ?? undefined, signal }
  let url = new URL(input)
  const seen = new Set([url.href])
  for (let hop = 0; ; hop++) {
    const message = await exchange(url, query, proxyOf)
    const next = init.redirect === 'manual' ? undefined : redirection(message, url)
    if (next === undefined) return responseOf(message, url)
    message.destroy()
    if (seen.has(next.href)) throw new Misdirected(`redirects lead in a circle, back to ${place(next)}`)
    if (hop === maxHops) throw new Misdirected(`more than ${maxHops} redirects, the last to ${place(next)}`)
    seen.add(next.href)
    query = redirected(query, statusOf(message), next.origin === url.origin)
    url = next
  }
}

function redirection(message: IncomingMessage, from: URL): URL | undefined {
  const { statusCode, headers } = message
  if (![301, 302, 303, 307, 308].includes(statusCode ?? 0) || headers.location === undefined) return undefined
  if (!URL.canParse(headers.location, from.href)) {
    message.destroy()
    throw new Misdirected('a redirect to something that is not an address')
  }
  const next = new URL(headers.location, from)
  if (!/^https?:$/.test(next.protocol)) {
    message.destroy()
    throw new Misdirected(`a redirect to ${next.protocol} is refused; only http and https are followed`)
  }
  return next
}

/** Returns an address without its query, which may hold a signature. */
function place({ origin, pathname }: URL): string {
  return origin + pathname
}

/**
 * Returns the request for the next address. Credentials for the first address are not sent to
 * another one.
 */
function redirected(query: Query, status: number, sameOrigin: boolean): Query {
  const headers = new Headers(query.headers)
  if (!sameOrigin) for (const name of ['authorization', 'cookie', 'proxy-authorization']) headers.delete(name)
  if (status === 307 || status === 308 || query.method === 'GET' || query.method === 'HEAD')
    return { ...query, headers }
  headers.delete('content-type')
  return { ...query, headers, method: 'GET', body: undefined }
}

async function exchange(url: URL, query: Query, proxyOf: ProxyFor): Promise<IncomingMessage> {
  if (!/^https?:$/.test(url.protocol)) throw new Error(`${url.protocol} is not http or https`)
  const proxy = proxyOf(url)
  if (!proxy) return send(url, {}, query)
  const socket = await tunnel(proxy, url, query.signal).catch((error) => {
    // Many proxies open tunnels for https only, and forward plain http themselves.
    if (url.protocol === 'https:' || query.signal?.aborted) throw error
    return undefined
  })
  // No agent, since it would open its own connections.
  if (socket) return send(url, { createConnection: () => socket }, query)
  const headers = new Headers(query.headers)
  headers.set('host', url.host)
  for (const [name, value] of Object.entries(credentials(proxy))) headers.set(name, value)
  return send(proxy, { path: url.href }, { ...query, headers })
}

function send(url: URL, options: RequestOptions, { method, headers, body, signal }: Query): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted()
    const module = url.protocol === 'https:' ? https : http
    const request = module.request(url, { ...options, method, headers: Object.fromEntries(headers) })
    let answer: IncomingMessage | undefined
    const abort = () => {
      answer?.destroy(signal?.reason)
      request.destroy(signal?.reason)
    }
    signal?.addEventListener('abort', abort, { once: true })
    // Listens even after the answer has begun, since no other listener exists then.
    request.on('error', reject)
    request.on('close', () => signal?.removeEventListener('abort', abort))
    request.on('response', (message) => {
      answer = message
      message.on('error', () => {})
      resolve(message)
    })
    request.end(body)
  })
}

/** Opens a connection to the host of `url` through a proxy, encrypted for https. */
async function tunnel(proxy: URL, url: URL, signal: AbortSignal | undefined): Promise<Socket> {
  const port = url.port || (url.protocol === 'https:' ? '443' : '80')
  const host = `${url.hostname}:${port}`
  const plain = await new Promise<Socket>((resolve, reject) => {
    signal?.throwIfAborted()
    const module = proxy.protocol === 'https:' ? https : http
    const headers = { host, ...credentials(proxy) }
    const request = module.request(proxy, { method: 'CONNECT', path: host, headers, agent: false })
    const abort = () => request.destroy(signal?.reason)
    signal?.addEventListener('abort', abort, { once: true })
    request.on('close', () => signal?.removeEventListener('abort', abort))
    request.on('error', (error) => reject(new Error(`the proxy ${proxy.host}: ${error.message}`)))
    request.on('response', (message) => message.destroy())
    request.on('connect', ({ statusCode }, socket) => {
      socket.on('error', () => {})
      if (statusCode === 200) return resolve(socket)
      socket.destroy()
      reject(new Error(`the proxy ${proxy.host} answered ${statusCode} to CONNECT ${host}`))
    })
    request.end()
  })
  if (url.protocol !== 'https:') return plain
  const name = url.hostname.replace(/^\[(.*)\]$/, '$1')
  const secure = tls.connect({ socket: plain, host: name, ...(!isIP(name) && { servername: name }) })
  return new Promise((resolve, reject) => {
    const abort = () => secure.destroy(signal?.reason)
    signal?.addEventListener('abort', abort, { once: true })
    secure.on('error', reject)
    secure.on('close', () => signal?.removeEventListener('abort', abort))
    secure.on('secureConnect', () => resolve(secure))
    if (signal?.aborted) abort()
  })
}

function credentials({ username, password }: URL): Record<string, string> {
  if (username === '') return {}
  const text = [username, password].map(decodeURIComponent).join(':')
  return { 'proxy-authorization': `Basic ${Buffer.from(text).toString('base64')}` }
}

const decoders: Readonly<Record<string, () => NodeJS.ReadWriteStream & Readable>> = {
  gzip: createGunzip,
  'x-gzip': createGunzip,
  deflate: createInflate,
  br: createBrotliDecompress,
}

/** Returns the status of an answer, which Node leaves out of the type because requests share it. */
function statusOf({ statusCode = 0 }: IncomingMessage): number {
  return statusCode
}

function responseOf(message: IncomingMessage, url: URL): Response {
  const headers = new Headers()
  for (const [index, name] of message.rawHeaders.entries())
    if (index % 2 === 0) headers.append(name, message.rawHeaders[index + 1] ?? '')
  const status = statusOf(message)
  const empty = status === 204 || status === 205 || status === 304
  if (empty) message.resume()
  const response = new Response(empty ? null : bodyOf(message, headers), { status, headers })
  Object.defineProperty(response, 'url', { value: url.href })
  return response
}

/**
 * Returns the body, decoded as far as its encodings are known. It is read only as fast as it is
 * consumed.
 */
function bodyOf(message: IncomingMessage, headers: Headers): ReadableStream<Uint8Array> {
  let last: Readable = message
  const codings = (headers.get('content-encoding') ?? '').toLowerCase().split(',').reverse()
  for (const coding of codings) {
    const decoder = decoders[coding.trim()]?.()
    if (!decoder) break
    const from = last
    decoder.on('error', () => {})
    from.on('error', (error) => decoder.destroy(error))
    decoder.on('close', () => from.destroy())
    last = from.pipe(decoder)
  }
  const source = last
  const pieces = source[Symbol.asyncIterator]()
  return new ReadableStream<Uint8Array>(
    {
      async pull(out) {
        try {
          const { value, done } = await pieces.next()
          if (done) out.close()
          else out.enqueue(value)
        } catch (error) {
          out.error(error)
        }
      },
      cancel() {
        source.destroy()
      },
    },
    { highWaterMark: 0 },
  )
}
