/**
 * The one engine of a Worker's isolate: loaded by the first request, shared by all. What an isolate may not do shapes it: there is no
 * compiling (modules come in the bundle), no second thread, and work belongs to the request that began it.
 */
import { type Engine, ForetokenError, type WasmModules } from '../src/index.ts'
import { loadPrepared } from './prepared.ts'
import { assetStore, type FetcherLike, type KvLike, kvStore, type R2Like, r2Store, type ShardStore } from './stores.ts'

/** Bindings and variables, as `wrangler.toml` names them. One of the three places holds what `deploy-prep` wrote. */
export interface WeightsEnv {
  readonly WEIGHTS?: R2Like
  readonly WEIGHTS_KV?: KvLike
  readonly ASSETS?: FetcherLike
  /** Before every name in that place, such as `smollm2-135m/`. Default none. */
  readonly WEIGHTS_PREFIX?: string
  /** What `deploy-prep` printed: with it the place need not be trusted. */
  readonly MANIFEST_SHA256?: string
}

/** Throws `bad_argument` where nothing is bound. */
export function storeOf(env: WeightsEnv): ShardStore {
  const prefix = env.WEIGHTS_PREFIX ?? ''
  if (env.WEIGHTS) return r2Store(env.WEIGHTS, prefix)
  if (env.WEIGHTS_KV) return kvStore(env.WEIGHTS_KV, prefix)
  if (env.ASSETS) return assetStore(env.ASSETS, prefix)
  throw new ForetokenError(
    'bad_argument',
    'no weights are bound: give the Worker an R2 bucket WEIGHTS, a KV namespace WEIGHTS_KV, or static ASSETS',
  )
}

/** Keeps the request that began it alive until `work` is done. */
export type WaitUntil = (work: Promise<unknown>) => void

export class Isolate {
  readonly #wasm: WasmModules
  #engine: Promise<Engine> | undefined

  constructor(wasm: WasmModules) {
    this.#wasm = wasm
  }

  /**
   * The engine; the first call loads it. Loading goes on when its caller leaves, since others wait for it; after a failure the next
   * call tries again. Throws what `loadPrepared` throws.
   */
  engine(env: WeightsEnv, waitUntil: WaitUntil): Promise<Engine> {
    if (!this.#engine) {
      const loading = this.#load(env)
      this.#engine = loading
      const settled = loading.then(
        () => {},
        () => {
          if (this.#engine === loading) this.#engine = undefined
        },
      )
      waitUntil(settled)
    }
    return this.#engine
  }

  async #load(env: WeightsEnv): Promise<Engine> {
    const { MANIFEST_SHA256: manifestSha256 } = env
    return loadPrepared(storeOf(env), { wasm: this.#wasm, manifestSha256 })
  }
}
