/** Cloudflare's entry, `main` of wrangler.toml: the app over the isolate's one engine. */
import relaxed from '../wasm/dist/relaxed.wasm'
import simd128 from '../wasm/dist/simd128.wasm'
import { createApp } from './app.ts'
import { piecesOf } from './body.ts'
import { parsedConfig, type ServerConfig } from './config.ts'
import { asApiError } from './errors.ts'
import { Isolate, type WeightsEnv } from './isolate.ts'
import type { App } from './server.ts'

interface Env extends WeightsEnv {
  /** `ServerConfig` as JSON. Without it the Worker answers nobody: a public server needs keys. */
  readonly FORETOKEN_CONFIG?: string
}

const isolate = new Isolate({ relaxed, simd128 })
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
      // Whoever set it up reads this; clients are told that the server failed.
      console.error(String(error))
      return Response.json(asApiError(new Error('config', { cause: error })).body, { status: 500 })
    }
    const response = await app.fetch(request, env, context)
    if (response.status >= 400) await drain(request)
    return response
  },
}

/** What is read at most of a body that was refused, and for how long. */
const drained = { bytes: 128 << 20, ms: 10_000 }

/** workerd resets a connection whose request was not read to its end, and the client may lose the answer. */
async function drain({ body }: Request): Promise<void> {
  if (!body || body.locked) return
  const reader = piecesOf(body)
  const timer = setTimeout(() => void reader.cancel().catch(() => {}), drained.ms)
  try {
    for (let bytes = 0; bytes < drained.bytes; ) {
      const piece = await reader.read()
      if (!piece) return
      bytes += piece.length
    }
  } catch {
    // The client has gone; so has its answer.
  } finally {
    clearTimeout(timer)
  }
}

/** An isolate has 128 MB for everything: bodies get 8 of them, unless the config says how large they are. */
function isolated(config: ServerConfig): ServerConfig {
  const { limits = {} } = config
  return limits.bodyBytes === undefined ? { ...config, limits: { bodiesBytes: 8 << 20, ...limits } } : config
}
