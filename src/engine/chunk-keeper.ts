/**
 * Computes the chunks that prompts marked and that are not kept, alone and among all other requests,
 * so that later prompts find them. They wait until the answer to their prompt has begun, and go
 * behind everything that somebody waits for.
 */
import type { PromptChunk } from '../base/prompt.ts'
import { chunkKey, isWorthKeeping } from '../decode/placing.ts'
import type { Scheduler } from '../decode/scheduler.ts'
import type { ChunkKey, ChunkStore } from '../kv/chunk-store.ts'

/** What keeps chunks for an engine. */
export interface ChunkKeeping {
  /** Throws `unsupported` if K and V of this model cannot be placed elsewhere. */
  requirePlaceable(): void
  /** Has the chunks of a prompt computed and kept that are not. */
  want(tenant: string, ids: readonly number[], chunks: readonly PromptChunk[]): void
}

/** A chunk that is being computed. */
class Wanted {
  readonly bytes: number
  /** Resolves when it is kept or given up. */
  readonly settled: Promise<void>
  /** Whether no pass computes it any more. */
  computed = false
  settle = () => {}

  constructor(bytes: number) {
    this.bytes = bytes
    this.settled = new Promise((resolve) => {
      this.settle = resolve
    })
  }
}

export class ChunkKeeper implements ChunkKeeping {
  readonly requirePlaceable: () => void
  readonly #store: ChunkStore
  readonly #scheduler: Pick<Scheduler, 'add' | 'drive'>
  readonly #context: number
  /** By tenant and key. */
  readonly #wanted = new Map<string, Wanted>()

  /** `context` is the most tokens that a chunk may have with its sinks. */
  constructor(
    store: ChunkStore,
    scheduler: Pick<Scheduler, 'add' | 'drive'>,
    context: number,
    requirePlaceable: () => void,
  ) {
    this.#store = store
    this.#scheduler = scheduler
    this.#context = context
    this.requirePlaceable = requirePlaceable
  }

  want(tenant: string, ids: readonly number[], chunks: readonly PromptChunk[]): void {
    for (const chunk of chunks) {
      const key = chunkKey(ids, chunk)
      const bytes = this.#store.bytesOf(chunk.ids.length)
      const fits = key.sinks.length + key.ids.length <= this.#context
      if (!fits || !isWorthKeeping(chunk) || this.#store.has(tenant, key)) continue
      const name = JSON.stringify([tenant, key])
      let waiting = bytes
      for (const one of this.#wanted.values()) waiting += one.bytes
      // What is being computed takes no more memory than what is kept.
      if (!this.#wanted.has(name) && waiting <= this.#store.maxBytes) this.#compute(name, tenant, key, bytes)
    }
  }

  /** Computes until no chunk waits. Drives the scheduler, as a reader of an answer does. */
  async kept(): Promise<void> {
    while (this.#wanted.size > 0) {
      const all = [...this.#wanted.values()]
      await this.#scheduler.drive(() => all.every(({ computed }) => computed))
      await Promise.all(all.map(({ settled }) => settled))
    }
  }

  #compute(name: string, tenant: string, key: ChunkKey, bytes: number): void {
    const wanted = new Wanted(bytes)
    const reader = this.#store.reader(key)
    const settle = () => {
      this.#wanted.delete(name)
      wanted.settle()
    }
    const end = (error?: unknown) => {
      wanted.computed = true
      // A chunk that can't be kept is computed with the next prompt that has it.
      if (error) settle()
      else void this.#store.keep(tenant, key, reader).then(settle, settle)
    }
    const unused = () => undefined
    try {
      const ids = [...key.sinks, ...key.ids]
      this.#scheduler.add({ ids, tenant, kv: reader, bulk: 'last', chooseTokens: unused, end })
      this.#wanted.set(name, wanted)
    } catch {
      // The scheduler takes no more requests now.
    }
  }
}
