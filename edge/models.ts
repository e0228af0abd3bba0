/**
 * The models of an app: which one a request means by a name, and its engine for as long as the
 * request needs it. An app has either one engine, or a pool of models that are loaded when they are
 * used.
 */
import {
  asForetokenError,
  ForetokenError,
  Lifetime,
  type ModelLease,
  type ModelPool,
  type ModelState,
  type ModelStatus,
  nearestOf,
  type TextService,
} from '../src/index.ts'
import type { Config } from './config.ts'
import { EngineHolder, type EngineSource, type HostContext } from './engine-holder.ts'
import { ApiError, asApiError, badConfig, loadFailure, stopping } from './errors.ts'
import { namedModel } from './ollama/names.ts'
import { type ModelHeader, type Purpose, purposeOf, purposeOfEngine } from './purpose.ts'

/** A pool of models, of this copy of the package or another. */
export type Pool = Pick<ModelPool<unknown>, 'use' | 'models' | 'unload'>

/** A name that clients may use. */
export interface ListedModel {
  readonly id: string
  /** The model that the name means: itself, or that of which it is another name. */
  readonly model: string
  readonly state: ModelState | 'failed'
  /** Why it could not be loaded; undefined unless its state is `failed`. */
  readonly failure?: ApiError | undefined
  readonly engine: TextService | undefined
  /** Requests that use it; undefined where only one model is served. */
  readonly uses?: number
  /** Milliseconds until it is unloaded if nobody uses it; undefined if it stays. */
  readonly leavesInMs?: number | undefined
}

/** A model as a request uses it. */
export interface UsedModel {
  readonly engine: TextService
  /** The listed name that the request means. */
  readonly id: string
  /** The model's own name, for metrics and the log. */
  readonly model: string
  release(): void
}

/** Tells what a model is for, loaded or not. */
export interface Known {
  /** The listed name that the request means. */
  readonly id: string
  readonly purpose: Purpose
  readonly header: ModelHeader
}

/** The part of a request that a wait for a model depends on. */
export interface Asking {
  readonly host: HostContext
  /** Aborted when the request ends. */
  readonly signal: AbortSignal
  /** Throws if the model is not for this request. Called before a load where its header is known, and after it. */
  require?(model: Known): void
  /** How long the model stays in memory after its uses, in milliseconds. Default: as configured. */
  readonly idleMs?: number | undefined
}

export class Models {
  readonly #config: Config
  readonly #served: { readonly holder: EngineHolder } | { readonly pool: Pool }
  readonly #drain: AbortSignal | undefined

  /** Throws `bad_argument` for aliases without a model, and for names that mean two models. */
  constructor(source: { engine?: EngineSource; models?: Pool }, config: Config, drain: AbortSignal | undefined) {
    const { engine, models } = source
    this.#config = config
    this.#drain = drain
    if (models && engine) throw badConfig('an app has either an engine or models, not both')
    if (models) this.#served = { pool: models }
    else if (engine) this.#served = { holder: new EngineHolder(engine) }
    else throw badConfig('an app needs an engine, or models')
    if (models && config.models)
      throw badConfig('config.models names one model; several have their own names, and config.aliases gives others')
    this.#checkAliases()
  }

  /** Whether the app serves several models, so that metrics are counted for each. */
  get several(): boolean {
    return 'pool' in this.#served
  }

  /** Whether a request can be answered without waiting for the only model. */
  get ready(): boolean {
    return 'pool' in this.#served || this.#served.holder.loaded !== undefined
  }

  /** The state of each model of a pool; none where only one model is served. */
  get statuses(): readonly ModelStatus[] {
    return 'pool' in this.#served ? this.#served.pool.models : []
  }

  /** The engines in memory, with their names. */
  get loaded(): readonly { readonly model: string; readonly engine: TextService }[] {
    if ('pool' in this.#served)
      return this.#served.pool.models.flatMap(({ name, engine }) => (engine ? [{ model: name, engine }] : []))
    const { loaded } = this.#served.holder
    return loaded ? [{ model: this.#config.models?.[0] ?? loaded.archive.name, engine: loaded }] : []
  }

  /** Every name that clients may use; undefined until the only model, whose name nobody configured, is loaded. */
  get listed(): readonly ListedModel[] | undefined {
    const own = this.#own()
    if (!own) return undefined
    const others = Object.entries(this.#config.aliases).flatMap(([id, name]) => {
      const one = own.find((model) => model.id === name)
      return one ? [{ ...one, id }] : []
    })
    return [...own, ...others]
  }

  /** Does the same as `listed`, but loads the only model if its name is not known. */
  async list(host: HostContext): Promise<readonly ListedModel[]> {
    const known = this.listed
    if (known || 'pool' in this.#served) return known ?? []
    await this.#served.holder.get(host)
    return this.listed ?? []
  }

  /**
   * Resolves with the engine of the model that a name means, loading it if need be. Rejects with an
   * ApiError (404 for an unknown name, 503 if it can't be loaded, has no room, or the server stops)
   * and with the signal's reason.
   */
  async use(name: string, asking: Asking): Promise<UsedModel> {
    if ('pool' in this.#served) return this.#lease(this.#served.pool, this.#meant(name), asking)
    if (this.listed) this.#meant(name)
    const engine = await this.#served.holder.get(asking.host)
    const meant = this.#meant(name)
    asking.require?.(knownOf(meant.id, engine))
    return { engine, ...meant, release: () => {} }
  }

  /**
   * Lets a model of a pool go as soon as nobody uses it; loads nothing. Returns its own name; undefined
   * if it is not known. Throws an ApiError of 404.
   */
  unload(name: string): string | undefined {
    if (!this.listed) return undefined
    const { model } = this.#meant(name)
    if ('pool' in this.#served) this.#served.pool.unload(model)
    return model
  }

  /** Returns the model that a name means. Throws an ApiError of 404 with the nearest names. */
  find(name: string, listed: readonly ListedModel[]): ListedModel {
    const ids = listed.map(({ id }) => id)
    const meant = namedModel(name, ids)
    const found = listed.find(({ id }) => id === meant)
    if (!found) throw unknownModel(name, ids)
    return found
  }

  /**
   * Returns the names of the model that a name means. The list, which has the engines of others, stays
   * out of frames that wait: they would keep memory that a load needs.
   */
  #meant(name: string): { readonly id: string; readonly model: string } {
    const { id, model } = this.find(name, this.listed ?? [])
    return { id, model }
  }

  async #lease(
    pool: Pool,
    { id, model }: { readonly id: string; readonly model: string },
    { host, signal, idleMs, ...asking }: Asking,
  ): Promise<UsedModel> {
    const header = headerOf(pool, model)
    if (header) asking.require?.({ id, purpose: purposeOf(header), header })
    const { engine, release } = await this.#wait(pool, model, { host, signal, idleMs })
    try {
      asking.require?.(knownOf(id, engine))
    } catch (error) {
      release()
      throw error
    }
    return { engine, id, model, release }
  }

  async #wait(pool: Pool, model: string, { host, signal, idleMs }: Asking): Promise<ModelLease> {
    const waiting = new Lifetime().follow(signal).follow(this.#drain)
    try {
      return await pool.use(model, { signal: waiting.signal, context: host, idleMs })
    } catch (error) {
      if (signal.aborted) throw signal.reason
      if (this.#drain?.aborted) throw stopping()
      throw refusalOf(error, model, pool.models)
    } finally {
      void waiting.end()
    }
  }

  /** Returns the models by their own names. */
  #own(): ListedModel[] | undefined {
    if ('pool' in this.#served) return this.#served.pool.models.map((status, _, all) => ownOf(status, all))
    const { loaded: engine } = this.#served.holder
    const names = this.#config.models ?? (engine && [engine.archive.name])
    const [model] = names ?? []
    if (!names || model === undefined) return undefined
    return names.map((id) => ({ id, model, state: engine ? 'loaded' : 'unloaded', engine }))
  }

  #checkAliases(): void {
    const own = this.#own()?.map(({ id }) => id)
    if (!own) return
    for (const [alias, name] of Object.entries(this.#config.aliases)) {
      if (own.includes(alias)) throw badConfig(`config.aliases.${alias} is the name of a model itself`)
      if (!own.includes(name))
        throw badConfig(`config.aliases.${alias} is for ${name}, which is not served; served are ${own.join(', ')}`)
    }
  }
}

/** Returns what is known of a model that is not loaded; the list, which has engines, stays out of frames that wait. */
function headerOf({ models }: Pool, model: string): ModelHeader | undefined {
  return models.find(({ name }) => name === model)?.header
}

function knownOf(id: string, engine: TextService): Known {
  return { id, purpose: purposeOfEngine(engine), header: engine.archive }
}

/** Returns a model of a pool by its own name; `all` are those of the pool. */
function ownOf(status: ModelStatus, all: readonly ModelStatus[]): ListedModel {
  const { name, state, engine, uses, leavesInMs, failure } = status
  const failed = state === 'unloaded' && failure ? asApiError(refusalOf(failure, name, all)) : undefined
  const shown = failed ? 'failed' : state
  return { id: name, model: name, state: shown, engine, uses, leavesInMs, failure: failed }
}

/**
 * Returns the failure of a request whose model is not loaded. Those of a lack of room tell the numbers,
 * and no file of this machine.
 */
function refusalOf(error: unknown, model: string, all: readonly ModelStatus[]): unknown {
  const { code, message } = asForetokenError(error)
  if (code === 'busy') return error
  if (code !== 'out_of_memory') return loadFailure(error, model)
  const held = all.flatMap(({ name, engine, uses }) => {
    if (!engine) return []
    const requests = uses === 0 ? 'idle' : `${uses} ${uses === 1 ? 'request' : 'requests'}`
    return [`${name} (${Math.ceil(engine.backend.memoryBytes() / 1e6)} MB, ${requests})`]
  })
  const loaded = held.length > 0 ? `in memory now: ${held.join(', ')}` : 'no model is in memory now'
  return new ForetokenError('out_of_memory', `${message}; ${loaded}; try again when memory is free`, { cause: error })
}

/** Longest name that is compared with others: a name may be as long as a body. */
const longestCompared = 100

function unknownModel(name: string, ids: readonly string[]): ApiError {
  const shown = name.length > longestCompared ? `${name.slice(0, longestCompared)}…` : name
  const near = name.length > longestCompared ? [] : nearestOf(name.toLowerCase(), ids, 3)
  const hint = near.length > 0 ? `; the nearest ${near.length > 1 ? 'are' : 'is'} ${near.join(', ')}` : ''
  return new ApiError(
    404,
    `there is no model ${JSON.stringify(shown)} here${hint}; GET /v1/models lists the available ones`,
    { code: 'model_not_found', param: 'model' },
  )
}
