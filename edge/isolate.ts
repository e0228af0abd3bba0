/**
 * The single engine of a Worker's isolate, loaded by the first request and shared by all. An
 * isolate cannot compile modules (they come with the bundle), has no second thread, and ties work
 * to the request that began it.
 */
import { type Engine, type EngineOptions, ForetokenError, type WasmModules } from '../src/index.ts'
import { loadPrepared } from './prepared.ts'
import { assetStore, type FetcherLike, type KvLike, kvStore, type R2Like, r2Store, type ShardStore } from './stores.ts'

/**
 * Bindings and variables, named as in `wrangler.toml`. One of the three stores holds the output of
 * `deploy-prep`.
 */
export interface WeightsEnv {
  readonly WEIGHTS?: R2Like
  readonly WEIGHTS_KV?: KvLike
  readonly ASSETS?: FetcherLike
  /** Prefix of every name in that store, such as `smollm2-135m/`. Default: none. */
  readonly WEIGHTS_PREFIX?: string
  /** The manifest's hash, as `deploy-prep` prints it; with it the store need not be trusted. */
  readonly MANIFEST_SHA256?: string
}

/** Returns the store that is bound. Throws `bad_argument` if there is none. */
export function storeOf(env: WeightsEnv): ShardStore {
  const prefix = env.WEIGHTS_PREFIX ?? ''
  if (env.WEIGHTS) return r2Store(env.WEIGHTS, prefix)
  if (env.WEIGHTS_KV) return kvStore(env.WEIGHTS_KV, prefix)
  if (env.ASSETS) return assetStore(env.ASSETS, prefix)
  throw new ForetokenError(
    'bad_argument',
    'no weights are bound: bind an R2 bucket WEIGHTS, a KV namespace WEIGHTS_KV, or static ASSETS to the Worker',
  )
}

/** Keeps the request that began it alive until `work` is done. */
export type WaitUntil = (work: Promise<unknown>) => void

export class Isolate {
  readonly #wasm: WasmModules
  readonly #guides: EngineOptions['guides']
  #engine: Promise<Engine> | undefined

  /** `guides` loads the grammar engine, for weights that were prepared with room for it. */
  constructor(wasm: WasmModules, guides?: EngineOptions['guides']) {
    this.#wasm = wasm
    this.#guides = guides
  }

  /**
   * Returns the engine; the first call loads it. Loading continues when its caller disconnects,
   * because others wait for it; after a failure the next call tries again. Rejects with what
   * `loadPrepared` throws.
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
    return loadPrepared(storeOf(env), { wasm: this.#wasm, manifestSha256, guides: this.#guides })
  }
}
