/** The app on Bun: `bun` a file that makes an app and calls `serveBun`. */
export * from './index.ts'
export { spawnText } from './web-text.ts'

export interface ServeOptions {
  readonly fetch: (request: Request) => Response | Promise<Response>
  /** 0 takes any that is free. */
  readonly port: number
  /** Default 127.0.0.1: only this machine. */
  readonly hostname?: string
}

interface BunHost {
  serve(options: { port: number; hostname: string; idleTimeout: number; fetch: ServeOptions['fetch'] }): {
    readonly port: number
    stop(): Promise<void>
  }
}

/** `close` takes no more connections, and resolves when the last answer has been written. */
export function serveBun({ fetch, port, hostname = '127.0.0.1' }: ServeOptions): {
  url: string
  close(): Promise<void>
} {
  const { Bun } = globalThis as unknown as { readonly Bun: BunHost }
  // Bun's own limit of idle time would end a long prefill; the app has limits and comments of its own.
  const server = Bun.serve({ port, hostname, idleTimeout: 0, fetch: (request) => fetch(request) })
  return { url: `http://${hostname}:${server.port}`, close: () => server.stop() }
}
