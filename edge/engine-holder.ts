/** The engine of an app: there from the start, or loaded within the first request that needs it. */
import type { AnyEngine } from '../src/index.ts'
import { loadFailure } from './errors.ts'

/** What the host gives a request: an isolate's bindings, and a way to be kept alive. */
export interface HostContext {
  readonly env: unknown
  waitUntil(work: Promise<unknown>): void
}

export type EngineSource = AnyEngine | ((host: HostContext) => Promise<AnyEngine>)

export class EngineHolder {
  readonly #load: ((host: HostContext) => Promise<AnyEngine>) | undefined
  #loading: Promise<AnyEngine> | undefined
  #engine: AnyEngine | undefined

  constructor(source: EngineSource) {
    if (typeof source === 'function') this.#load = source
    else this.#engine = source
  }

  /** The engine if it is there now. */
  get loaded(): AnyEngine | undefined {
    return this.#engine
  }

  /** Loads it if need be; one load at a time, a failed one is forgotten. Rejects with an ApiError of 503. */
  async get(host: HostContext): Promise<AnyEngine> {
    if (this.#engine) return this.#engine
    this.#loading ??= this.#begin(host)
    return this.#loading
  }

  #begin(host: HostContext): Promise<AnyEngine> {
    const loading = (async () => {
      try {
        this.#engine = await this.#load!(host)
        return this.#engine
      } catch (error) {
        throw loadFailure(error)
      } finally {
        this.#loading = undefined
      }
    })()
    // The first client may leave; others wait for the same load.
    host.waitUntil(loading.catch(() => {}))
    return loading
  }
}
