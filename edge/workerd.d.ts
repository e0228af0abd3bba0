/**
 * Modules that workerd provides to a Worker: the bundle's wasm files as compiled modules, and the
 * bindings of the current request.
 */
declare module '*.wasm' {
  const module: WebAssembly.Module
  export default module
}

declare module 'cloudflare:workers' {
  /** Bindings and variables, named as in `wrangler.toml`. */
  export const env: Readonly<Record<string, unknown>>
  /** Keeps the current request alive until `work` is done. */
  export function waitUntil(work: Promise<unknown>): void
}
