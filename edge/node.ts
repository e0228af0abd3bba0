/** Serves the app on Node; the server can be stopped without cutting answers off. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { getRequestListener, type HttpBindings } from '@hono/node-server'
import { after, asForetokenError } from '../src/index.ts'
import { guardConnections } from './connections.ts'
import { ApiError } from './errors.ts'

export * from './index.ts'

export interface ServeOptions {
  /** `env` holds Node's request and response objects. */
  readonly fetch: (request: Request, env: never) => Response | Promise<Response>
  /** The port to listen on; 0 chooses a free one. */
  readonly port: number
  /** The address to listen on. Default 127.0.0.1: only this machine can connect. */
  readonly hostname?: string
  /** Maximum number of connections; further ones are closed at once. Default 16,384. */
  readonly connections?: number
  /**
   * Maximum number of requests whose answers have not been sent, over all connections; further ones
   * are answered by 503. Default 2,048.
   */
  readonly requests?: number
  /**
   * How long an answer of any kind may stay unread before its connection is closed, in seconds.
   * Default 60.
   */
  readonly stallSeconds?: number
  /**
   * How long a client may reuse an idle connection, in whole seconds. It is announced as
   * `keep-alive: timeout=N`, and the connection is kept 5 s longer. Default 95: longer than the
   * pools of common clients and proxies, of which Go's keeps connections for 90 s and nginx's for
   * 60 s.
   */
  readonly idleSeconds?: number
  /**
   * Maximum number of bytes per minute that are read from bodies after their answers, over all
   * connections; a quarter may arrive in one burst. Beyond it a connection closes at once, and its
   * client may lose the answer. Default 4 GiB.
   */
  readonly drainedBytesPerMinute?: number
}

export interface Serving {
  readonly url: string
  /**
   * Accepts the connections that are already waiting, and then no more; resolves when the last
   * answer has been written, or cut off after `graceMs` (default 30,000). The system resets a
   * connection that arrives between the last accept and the close of the listener.
   */
  close(graceMs?: number): Promise<void>
}

/** How long a stopping server goes on accepting if connections keep arriving, in milliseconds. */
const longestAcceptMs = 1000

/** Starts a server. Rejects with `io` if the address is in use. */
export function serveNode(options: ServeOptions): Promise<Serving> {
  const { fetch, port, hostname = '127.0.0.1' } = options
  const { connections = 16_384, requests = 2048, stallSeconds = 60, idleSeconds = 95 } = options
  const { drainedBytesPerMinute = 4 * 2 ** 30 } = options
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.maxConnections = connections
    const answer = (request: Request, env: HttpBindings) => {
      const response = fetch(request, env as never)
      return response instanceof Promise ? response.then((late) => asItComes(late, env)) : asItComes(response, env)
    }
    const listener = getRequestListener((request, env) => answer(request, env as HttpBindings), {
      hostname,
      errorHandler: malformed,
    })
    const guarded = guardConnections(server, listener, {
      requests,
      stallMs: stallSeconds * 1000,
      idleMs: idleSeconds * 1000,
      drainedBytesPerMinute,
    })
    server.once('error', (error) => reject(asForetokenError(error, 'io', `can't listen on ${hostname}:${port}`)))
    // Many connections may arrive at once; if the queue is full, a client retries only after a
    // second.
    server.listen({ port, host: hostname, backlog: 4096 }, () => {
      const { port } = server.address() as AddressInfo
      resolve({ url: `http://${hostname.includes(':') ? `[${hostname}]` : hostname}:${port}`, close })
    })

    async function close(graceMs = 30_000): Promise<void> {
      const stopTimer = after(graceMs, () => server.closeAllConnections())
      await guarded.acceptWaiting(Math.min(longestAcceptMs, graceMs))
      await new Promise<void>((closed) => {
        server.close(() => closed())
        guarded.stop()
      })
      stopTimer()
    }
  })
}

/**
 * Marks a stream as chunked, as Node itself does. Without the mark the listener holds the first
 * chunk back until a second one or a timer, so the first token would be written one pass late.
 */
function asItComes(response: Response, { incoming }: HttpBindings): Response {
  const streams = response.headers.get('content-type')?.startsWith('text/event-stream')
  // HTTP/1.0 has no chunked encoding.
  if (streams && incoming.httpVersion === '1.1') response.headers.set('transfer-encoding', 'chunked')
  return response
}

/** Answers a request whose address or host name cannot be parsed. */
function malformed(): Response {
  const { status, body } = new ApiError(400, 'the address or the host name is malformed', { code: 'invalid_url' })
  return Response.json(body, { status })
}
