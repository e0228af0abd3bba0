/**
 * Chooses what answers requests: the engine alone, or the engine with the companions of the config.
 */
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

/** Timeouts for a companion: until its first byte, and between two reads. */
const patience = { firstMs: 30_000, stallMs: 10_000 }

/** State of a companion, for the metrics. */
export interface CompanionState {
  /** The model that it reads prompts for. */
  readonly model: string
  readonly name: string
  /** 1 if it is in use, 0.5 if the next request tries it, 0 if it failed and is paused. */
  readonly up: number
}

export class Routes {
  readonly #config: Config
  readonly #fetch: Fetch
  /** What answers for each engine; it goes with the engine. */
  readonly #answering = new WeakMap<AnyEngine, Answering>()
  readonly #companions = new WeakMap<AnyEngine, StaticCompanions<RemoteCompanion>>()

  constructor(config: Config, fetch: Fetch) {
    this.#config = config
    this.#fetch = fetch
  }

  /**
   * Returns what answers for `engine`. Companions are contacted at once, so that the first request
   * knows their state. Throws `unsupported` if the engine cannot work with companions.
   */
  of(engine: AnyEngine): Answering {
    const known = this.#answering.get(engine)
    if (known) return known
    const answering = this.#routed(engine) ?? engine
    this.#answering.set(engine, answering)
    return answering
  }

  /** Returns the state of the companions of each engine. */
  statesOf(loaded: readonly { readonly model: string; readonly engine: AnyEngine }[]): readonly CompanionState[] {
    const value = { closed: 1, 'half-open': 0.5, open: 0 }
    const now = performance.now()
    return loaded.flatMap(({ model, engine }) =>
      (this.#companions.get(engine)?.list ?? []).map(({ name, breaker }) => ({
        ...{ model, name, up: value[breaker.state(now)] },
      })),
    )
  }

  #routed(engine: AnyEngine): Routed | undefined {
    const { companions: wanted, route } = this.#config
    if (wanted.length === 0) return undefined
    if (!acceptsKv(engine))
      throw new ForetokenError(
        'unsupported',
        `companions send K and V for the Rust core, but ${engine.archive.name} runs in ONNX Runtime; remove config.companions`,
      )
    const clients = wanted.map(({ url, name, id, key }) => ({
      name: name ?? new URL(url).host,
      client: new RemoteCompanion({ url, id, key: keyBytes(key) }, this.#fetch, patience),
    }))
    const companions = new StaticCompanions(clients)
    this.#companions.set(engine, companions)
    const { codec, always, ...rest } = route
    const routed = new Routed(engine, {
      companions,
      ...rest,
      ...(codec && { codec }),
      ...(always && { always }),
    })
    void routed.refresh()
    return routed
  }
}

/**
 * Detects an engine that accepts K and V by its method: the app and the engine may come from
 * different bundles, each with its own class `Engine`.
 */
function acceptsKv(engine: AnyEngine): engine is Engine {
  return 'expectKv' in engine
}
