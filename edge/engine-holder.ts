/**
 * Holds the engine of an app, which is there from the start, or is loaded within the first request
 * that needs it.
 */
import type { TextService } from '../src/index.ts'
import { loadFailure } from './errors.ts'

/** The host of a request: an isolate's bindings, and a way to be kept alive. */
export interface HostContext {
  readonly env: unknown
  waitUntil(work: Promise<unknown>): void
}

export type EngineSource = TextService | ((host: HostContext) => Promise<TextService>)

export class EngineHolder {
  readonly #load: (host: HostContext) => Promise<TextService>
  #loading: Promise<TextService> | undefined
  #engine: TextService | undefined

  constructor(source: EngineSource) {
    if (typeof source === 'function') this.#load = source
    else {
      this.#load = async () => source
      this.#engine = source
    }
  }

  /** The engine; undefined if it has not been loaded. */
  get loaded(): TextService | undefined {
    return this.#engine
  }

  /**
   * Resolves with the engine; loads it if need be, once for all who wait. A failed load is
   * forgotten. Rejects with an ApiError of 503.
   */
  async get(host: HostContext): Promise<TextService> {
    if (this.#engine) return this.#engine
    this.#loading ??= this.#begin(host)
    return this.#loading
  }

  #begin(host: HostContext): Promise<TextService> {
    const loading = (async () => {
      try {
        this.#engine = await this.#load(host)
        return this.#engine
      } catch (error) {
        throw loadFailure(error)
      } finally {
        this.#loading = undefined
      }
    })()
    // The first client may leave while others wait for the same load.
    host.waitUntil(loading.catch(() => {}))
    return loading
  }
}
