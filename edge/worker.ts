/**
 * Entry of the Cloudflare Worker, `main` in wrangler.toml: the app over the isolate's single
 * engine.
 */
import { openGuides } from '../src/index.ts'
import { instantiate } from '../wasm/dist/guide/guide.js'
import guide from '../wasm/dist/guide/guide.wasm'
import relaxed from '../wasm/dist/relaxed.wasm'
import simd128 from '../wasm/dist/simd128.wasm'
import { createApp } from './app.ts'
import { piecesOf } from './body.ts'
import { parsedConfig, type ServerConfig } from './config.ts'
import { asApiError } from './errors.ts'
import { Isolate, type WeightsEnv } from './isolate.ts'
import type { App } from './server.ts'

interface Env extends WeightsEnv {
  /**
   * `ServerConfig` as JSON. Without it the Worker answers no one, because a public server needs
   * keys.
   */
  readonly FORETOKEN_CONFIG?: string
}

const isolate = new Isolate({ relaxed, simd128 }, async () => openGuides(() => instantiate(guide)))
let app: App | undefined

export default {
  async fetch(request: Request, env: Env, context: Parameters<App['fetch']>[2]): Promise<Response> {
    try {
      app ??= createApp({
        engine: (host) => isolate.engine(env, (work) => host.waitUntil(work)),
        config: isolated(parsedConfig(env.FORETOKEN_CONFIG ?? '{}', 'FORETOKEN_CONFIG')),
        onRequest: (line) => console.log(JSON.stringify(line)),
      })
    } catch (error) {
      // The operator sees this message; clients only see that the server failed.
      console.error(String(error))
      return Response.json(asApiError(new Error('config', { cause: error })).body, { status: 500 })
    }
    const response = await app.fetch(request, env, context)
    if (response.status >= 400) await drain(request)
    return response
  },
}

/** Limits for draining a refused body: bytes and milliseconds. */
const drainLimits = { bytes: 128 << 20, ms: 10_000 }

/**
 * Reads the rest of a body: workerd resets a connection whose request was not read to the end, and
 * the client may lose the answer.
 */
async function drain({ body }: Request): Promise<void> {
  if (!body || body.locked) return
  const reader = piecesOf(body)
  const timer = setTimeout(() => void reader.cancel().catch(() => {}), drainLimits.ms)
  try {
    for (let bytes = 0; bytes < drainLimits.bytes; ) {
      const piece = await reader.read()
      if (!piece) return
      bytes += piece.length
    }
  } catch {
    // The client has disconnected, and nobody reads the answer.
  } finally {
    clearTimeout(timer)
  }
}

/**
 * Limits request bodies to 8 MiB in all, of the isolate's 128 MB, unless the config sets their
 * size.
 */
function isolated(config: ServerConfig): ServerConfig {
  const { limits = {} } = config
  return limits.bodyBytes === undefined ? { ...config, limits: { bodiesBytes: 8 << 20, ...limits } } : config
}
