/**
 * Serves the app on Deno: call `serveDeno` in a file that creates an app, and run it with `deno run
 * -A`.
 */
export * from './index.ts'
export { spawnText } from './web-text.ts'

export interface ServeOptions {
  readonly fetch: (request: Request) => Response | Promise<Response>
  /** The port to listen on; 0 chooses a free one. */
  readonly port: number
  /** The address to listen on. Default 127.0.0.1: only this machine can connect. */
  readonly hostname?: string
}

interface DenoServer {
  readonly addr: { readonly port: number }
  shutdown(): Promise<void>
}

interface DenoHost {
  serve(options: { port: number; hostname: string; onListen: () => void }, handler: ServeOptions['fetch']): DenoServer
}

/**
 * Starts a server. `close` stops accepting connections, and resolves when the last answer has been
 * written.
 */
export function serveDeno({ fetch, port, hostname = '127.0.0.1' }: ServeOptions): {
  url: string
  close(): Promise<void>
} {
  const { Deno } = globalThis as unknown as { readonly Deno: DenoHost }
  // Deno passes a second argument, which the app would mistake for its environment.
  const server = Deno.serve({ port, hostname, onListen() {} }, (request) => fetch(request))
  return { url: `http://${hostname}:${server.addr.port}`, close: () => server.shutdown() }
}
