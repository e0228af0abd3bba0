/** Cloudflare's entry, `main` of wrangler.toml: the app over the isolate's one engine. */
import relaxed from '../wasm/dist/relaxed.wasm'
import simd128 from '../wasm/dist/simd128.wasm'
import { createApp } from './app.ts'
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
  fetch(request: Request, env: Env, context: Parameters<App['fetch']>[2]): Response | Promise<Response> {
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
    return app.fetch(request, env, context)
  },
}

/** An isolate has 128 MB for everything: bodies get 8 of them, unless the config says how large they are. */
function isolated(config: ServerConfig): ServerConfig {
  const { limits = {} } = config
  return limits.bodyBytes === undefined ? { ...config, limits: { bodiesBytes: 8 << 20, ...limits } } : config
}
