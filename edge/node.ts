/** The app on Node: a server that can be stopped without breaking an answer off. */
import type { Server as HttpServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { serve } from '@hono/node-server'
import { asForetokenError } from '../src/index.ts'

export * from './index.ts'

export interface ServeOptions {
  readonly fetch: (request: Request) => Response | Promise<Response>
  /** 0 takes any that is free. */
  readonly port: number
  /** Default 127.0.0.1: only this machine. */
  readonly hostname?: string
}

export interface Serving {
  readonly url: string
  /** Takes no more connections; resolves when the last answer has been written, or broken off after `graceMs`. */
  close(graceMs?: number): Promise<void>
}

/** Rejects with `io` where the address is taken. */
export function serveNode({ fetch, port, hostname = '127.0.0.1' }: ServeOptions): Promise<Serving> {
  return new Promise((resolve, reject) => {
    const server = serve({ fetch, port, hostname }, ({ port }: AddressInfo) =>
      resolve({ url: `http://${hostname.includes(':') ? `[${hostname}]` : hostname}:${port}`, close }),
    ) as HttpServer
    // Slow senders of headers; bodies have a limit of the app's own.
    server.headersTimeout = 20_000
    server.requestTimeout = 0
    server.once('error', (error) => reject(asForetokenError(error, 'io', `can't listen on ${hostname}:${port}`)))

    function close(graceMs = 30_000): Promise<void> {
      const timer = setTimeout(() => server.closeAllConnections(), graceMs)
      return new Promise((closed) => {
        server.close(() => {
          clearTimeout(timer)
          closed()
        })
        server.closeIdleConnections()
      })
    }
  })
}
