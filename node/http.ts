/**
 * `fetch` for downloads and for companions. The code behind it is imported by the first request:
 * Node takes about 30 ms of processor time to load its HTTP and TLS modules for an import, which a
 * command with its model at hand never needs.
 */

/**
 * Fetches downloads through the environment's proxies. Rejects with the failure or with the
 * signal's reason. Encoded bodies are decoded, and fail if they are cut off.
 */
export const httpFetch: typeof fetch = async (input, init) =>
  (await import('./http-exchange.ts')).fetchOver('proxies', input, init)

/**
 * Fetches from companions without proxies: an edge connects to the addresses in its configuration.
 */
export const peerFetch: typeof fetch = async (input, init) =>
  (await import('./http-exchange.ts')).fetchOver('direct', input, init)
