/** Serves the app on Bun: run a file that creates an app and calls `serveBun` with `bun`. */
import { ForetokenError } from '../src/index.ts'

export * from './index.ts'
export { spawnGuides, spawnText } from './web-workers.ts'

export interface ServeOptions {
  /** The app's. */
  readonly fetch: (request: Request) => Response | Promise<Response>
  /** 0 chooses a free port. */
  readonly port: number
  /** Address to listen at. Default 127.0.0.1, which only this machine reaches. */
  readonly hostname?: string
}

interface BunHost {
  serve(options: { port: number; hostname: string; idleTimeout: number; fetch: ServeOptions['fetch'] }): {
    readonly port: number
    stop(): Promise<void>
  }
}

/**
 * Starts a server. `close` refuses new connections, and resolves when the last answer has been
 * written. Throws `unsupported` outside of Bun.
 */
export function serveBun({ fetch, port, hostname = '127.0.0.1' }: ServeOptions): {
  url: string
  close(): Promise<void>
} {
  const { Bun } = globalThis as { readonly Bun?: BunHost }
  if (!Bun)
    throw new ForetokenError(
      'unsupported',
      'serveBun runs on Bun only; import foretoken/edge on the runtime that serves',
    )
  // Bun's idle timeout would end a long prefill. The app has its own limits, and sends keep-alive
  // comments.
  const server = Bun.serve({ port, hostname, idleTimeout: 0, fetch: (request) => fetch(request) })
  return { url: `http://${hostname}:${server.port}`, close: () => server.stop() }
}
