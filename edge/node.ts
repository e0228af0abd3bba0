/** The app on Node: a server that can be stopped without breaking an answer off. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { getRequestListener, type HttpBindings } from '@hono/node-server'
import { asForetokenError } from '../src/index.ts'
import { guardConnections } from './connections.ts'
import { ApiError } from './errors.ts'

export * from './index.ts'

export interface ServeOptions {
  /** `env` holds Node's own objects of the request, for whoever needs them. */
  readonly fetch: (request: Request, env: never) => Response | Promise<Response>
  /** 0 takes any that is free. */
  readonly port: number
  /** Default 127.0.0.1: only this machine. */
  readonly hostname?: string
  /** Maximum number of connections; one more is closed at once. Default 16,384. */
  readonly connections?: number
  /** Maximum number of requests whose answers have not been sent, of all connections; one more is answered by 503. Default 2,048. */
  readonly requests?: number
  /** How long an answer may stay unread, whatever it is, before its connection is closed. Default 60. */
  readonly stallSeconds?: number
  /**
   * Maximum number of bytes per minute that are read of bodies after their answers, of all connections; a quarter may come at once. Beyond it a
   * connection closes at once, and its client may lose the answer. Default 4 GiB.
   */
  readonly drainedBytesPerMinute?: number
}

export interface Serving {
  readonly url: string
  /**
   * Takes the connections that wait to be accepted, and then no more; resolves when the last answer has been written, or broken off
   * after `graceMs`. A connection that is made between the last look and the close of the listener is reset by the system.
   */
  close(graceMs?: number): Promise<void>
}

/** How long a server that stops goes on to accept, where connections never cease to come. */
const longestAcceptMs = 1000

/** Rejects with `io` where the address is taken. */
export function serveNode(options: ServeOptions): Promise<Serving> {
  const { fetch, port, hostname = '127.0.0.1' } = options
  const { connections = 16_384, requests = 2048, stallSeconds = 60, drainedBytesPerMinute = 4 * 2 ** 30 } = options
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
      drainedBytesPerMinute,
    })
    server.once('error', (error) => reject(asForetokenError(error, 'io', `can't listen on ${hostname}:${port}`)))
    // Many may come at once; a connection that finds the queue full is tried again by its client only after a second.
    server.listen({ port, host: hostname, backlog: 4096 }, () => {
      const { port } = server.address() as AddressInfo
      resolve({ url: `http://${hostname.includes(':') ? `[${hostname}]` : hostname}:${port}`, close })
    })

    async function close(graceMs = 30_000): Promise<void> {
      const timer = setTimeout(() => server.closeAllConnections(), graceMs)
      await guarded.acceptWaiting(Math.min(longestAcceptMs, graceMs))
      await new Promise<void>((closed) => {
        server.close(() => closed())
        guarded.stop()
      })
      clearTimeout(timer)
    }
  })
}

/**
 * Marks a stream as chunked, as Node does itself. Without the mark the listener holds the first chunk back until a second one or a timer
 * comes, so that the first token would be written a pass late.
 */
function asItComes(response: Response, { incoming }: HttpBindings): Response {
  const streams = response.headers.get('content-type')?.startsWith('text/event-stream')
  // HTTP/1.0 has no chunks.
  if (streams && incoming.httpVersion === '1.1') response.headers.set('transfer-encoding', 'chunked')
  return response
}

/** What never becomes a request: the address or the host name can't be read. */
function malformed(): Response {
  const { status, body } = new ApiError(400, 'the address or the host name is malformed', { code: 'invalid_url' })
  return Response.json(body, { status })
}
