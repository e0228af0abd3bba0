/** The app on Deno: `deno run -A` a file that makes an app and calls `serveDeno`. */
export * from './index.ts'
export { spawnText } from './web-text.ts'

export interface ServeOptions {
  readonly fetch: (request: Request) => Response | Promise<Response>
  /** 0 takes any that is free. */
  readonly port: number
  /** Default 127.0.0.1: only this machine. */
  readonly hostname?: string
}

interface DenoServer {
  readonly addr: { readonly port: number }
  shutdown(): Promise<void>
}

interface DenoHost {
  serve(options: { port: number; hostname: string; onListen: () => void }, handler: ServeOptions['fetch']): DenoServer
}

/** `close` takes no more connections, and resolves when the last answer has been written. */
export function serveDeno({ fetch, port, hostname = '127.0.0.1' }: ServeOptions): {
  url: string
  close(): Promise<void>
} {
  const { Deno } = globalThis as unknown as { readonly Deno: DenoHost }
  // Deno passes more than a request; the app would take it for its environment.
  const server = Deno.serve({ port, hostname, onListen() {} }, (request) => fetch(request))
  return { url: `http://${hostname}:${server.addr.port}`, close: () => server.shutdown() }
}
