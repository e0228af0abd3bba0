/** What workerd gives a Worker's entry: wasm files of the bundle as compiled modules, and the bindings of the request at hand. */
declare module '*.wasm' {
  const module: WebAssembly.Module
  export default module
}

declare module 'cloudflare:workers' {
  /** Bindings and variables, as `wrangler.toml` names them. */
  export const env: Readonly<Record<string, unknown>>
  /** Keeps the request at hand alive until `work` is done. */
  export function waitUntil(work: Promise<unknown>): void
}
