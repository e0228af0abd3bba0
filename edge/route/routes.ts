/** What answers requests: the engine alone, or beside it the companions of the config. */
import {
  type AnyEngine,
  type Engine,
  type Fetch,
  ForetokenError,
  keyBytes,
  RemoteCompanion,
  Routed,
  StaticCompanions,
} from '../../src/index.ts'
import type { Answering } from '../choices.ts'
import type { Config } from '../config.ts'

/** Until a companion's first byte, and between two pieces of what it sends. */
const patience = { firstMs: 30_000, stallMs: 10_000 }

/** How a companion is at the moment, for the metrics. */
export interface CompanionState {
  readonly name: string
  /** 1: may be asked; .5: is tried again with the next request; 0: failed, and is left alone for a while. */
  readonly up: number
}

export class Routes {
  readonly #config: Config
  readonly #fetch: Fetch
  #engine: AnyEngine | undefined
  #answering: Answering | undefined
  #companions: StaticCompanions<RemoteCompanion> | undefined

  constructor(config: Config, fetch: Fetch) {
    this.#config = config
    this.#fetch = fetch
  }

  /** What answers for `engine`. Companions are asked how they are at once, so that the first request knows. Throws `unsupported`. */
  of(engine: AnyEngine): Answering {
    if (this.#answering && this.#engine === engine) return this.#answering
    this.#engine = engine
    const answering = this.#routed(engine) ?? engine
    this.#answering = answering
    return answering
  }

  get states(): readonly CompanionState[] {
    const value = { closed: 1, 'half-open': 0.5, open: 0 }
    const now = performance.now()
    return (this.#companions?.list ?? []).map(({ name, breaker }) => ({ name, up: value[breaker.state(now)] }))
  }

  #routed(engine: AnyEngine): Routed | undefined {
    const { companions, route } = this.#config
    if (companions.length === 0) return undefined
    if (!takesKv(engine))
      throw new ForetokenError(
        'unsupported',
        `companions send K and V for the Rust core, and ${engine.archive.name} runs in ONNX Runtime; leave them out`,
      )
    const clients = companions.map(({ url, name, id, key }) => ({
      name: name ?? new URL(url).host,
      client: new RemoteCompanion({ url, id, key: keyBytes(key) }, this.#fetch, patience),
    }))
    this.#companions = new StaticCompanions(clients)
    const { codec, always, ...rest } = route
    const routed = new Routed(engine, {
      companions: this.#companions,
      ...rest,
      ...(codec && { codec }),
      ...(always && { always }),
    })
    void routed.refresh()
    return routed
  }
}

/** By what it can do: an app and its engine may come from different bundles, which have a class `Engine` each. */
function takesKv(engine: AnyEngine): engine is Engine {
  return 'expectKv' in engine
}
