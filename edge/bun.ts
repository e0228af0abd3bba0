/** Serves the app on Bun: call `serveBun` in a file that creates an app, and run it with `bun`. */
export * from './index.ts'
export { spawnText } from './web-text.ts'

export interface ServeOptions {
  readonly fetch: (request: Request) => Response | Promise<Response>
  /** The port to listen on; 0 chooses a free one. */
  readonly port: number
  /** The address to listen on. Default 127.0.0.1: only this machine can connect. */
  readonly hostname?: string
}

interface BunHost {
  serve(options: { port: number; hostname: string; idleTimeout: number; fetch: ServeOptions['fetch'] }): {
    readonly port: number
    stop(): Promise<void>
  }
}

/**
 * Starts a server. `close` stops accepting connections, and resolves when the last answer has been
 * written.
 */
export function serveBun({ fetch, port, hostname = '127.0.0.1' }: ServeOptions): {
  url: string
  close(): Promise<void>
} {
  const { Bun } = globalThis as unknown as { readonly Bun: BunHost }
  // Bun's idle timeout would end a long prefill; the app has its own timeouts and keep-alive
  // comments.
  const server = Bun.serve({ port, hostname, idleTimeout: 0, fetch: (request) => fetch(request) })
  return { url: `http://${hostname}:${server.port}`, close: () => server.stop() }
}
