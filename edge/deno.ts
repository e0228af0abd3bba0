/**
 * Serves the app on Deno: run a file that creates an app and calls `serveDeno` with `deno run -A`.
 */
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

interface DenoServer {
  readonly addr: { readonly port: number }
  shutdown(): Promise<void>
}

interface DenoHost {
  serve(options: { port: number; hostname: string; onListen: () => void }, handler: ServeOptions['fetch']): DenoServer
}

/**
 * Starts a server. `close` refuses new connections, and resolves when the last answer has been
 * written. Throws `unsupported` outside of Deno.
 */
export function serveDeno({ fetch, port, hostname = '127.0.0.1' }: ServeOptions): {
  url: string
  close(): Promise<void>
} {
  const { Deno } = globalThis as { readonly Deno?: DenoHost }
  if (!Deno)
    throw new ForetokenError(
      'unsupported',
      'serveDeno runs on Deno only; import foretoken/edge on the runtime that serves',
    )
  // Deno passes a second argument, which the app would read as its environment.
  const server = Deno.serve({ port, hostname, onListen() {} }, (request) => fetch(request))
  return { url: `http://${hostname}:${server.addr.port}`, close: () => server.shutdown() }
}
