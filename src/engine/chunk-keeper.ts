/**
 * Computes the chunks that prompts marked and that are not kept, alone and among all other requests,
 * so that later prompts find them. They wait until the answer to their prompt has begun, and go
 * behind everything that somebody waits for.
 */
import type { PromptChunk } from '../base/prompt.ts'
import { isWorthKeeping } from '../decode/placing.ts'
import type { Scheduler } from '../decode/scheduler.ts'
import type { ChunkStore } from '../kv/chunk-store.ts'
import type { Prompts } from '../tokens/prompts.ts'
import { SeenParagraphs } from './seen-paragraphs.ts'

/** What keeps chunks for an engine. */
export interface ChunkKeeping {
  /** Throws `unsupported` if K and V of this model cannot be placed elsewhere. */
  requirePlaceable(): void
  /**
   * Has the chunks of a prompt computed and kept that are not. Of those that were found, the ones behind
   * the first `cached` tokens that have come before.
   */
  want(tenant: string, chunks: readonly PromptChunk[], cached: number): void
}

/** Most tokens that a chunk is computed behind. */
const mostSinks = 16

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

/** What a keeper knows of its engine. */
interface ChunkSource {
  readonly prompts: Pick<Prompts, 'ids'>
  /** Most tokens of a chunk with its sinks. */
  readonly context: number
  /** Throws `unsupported` if K and V of this model cannot be placed elsewhere. */
  requirePlaceable(): void
}

export class ChunkKeeper implements ChunkKeeping {
  readonly requirePlaceable: () => void
  readonly #store: ChunkStore
  readonly #scheduler: Pick<Scheduler, 'add' | 'drive'>
  readonly #prompts: Pick<Prompts, 'ids'>
  readonly #context: number
  #sinks: readonly number[] | undefined
  readonly #seen = new SeenParagraphs()
  /** By tenant and key. */
  readonly #wanted = new Map<string, Wanted>()

  constructor(
    store: ChunkStore,
    scheduler: Pick<Scheduler, 'add' | 'drive'>,
    { prompts, context, requirePlaceable }: ChunkSource,
  ) {
    this.requirePlaceable = requirePlaceable
    this.#prompts = prompts
    this.#store = store
    this.#scheduler = scheduler
    this.#context = context
  }

  /** The tokens that chunks are computed behind: those that the prompts of this model begin with. */
  get sinks(): readonly number[] {
    this.#sinks ??= usualOpening(this.#prompts).slice(0, mostSinks)
    return this.#sinks
  }

  want(tenant: string, chunks: readonly PromptChunk[], cached: number): void {
    const now = new Set<string>()
    for (const chunk of chunks) {
      const { ids } = chunk
      const bytes = this.#store.bytesOf(ids.length)
      const fits = bytes <= this.#store.room && this.sinks.length + ids.length <= this.#context
      if (!fits || !isWorthKeeping(chunk) || this.#store.has(tenant, ids)) continue
      const name = JSON.stringify([tenant, ids])
      if (chunk.found) {
        // What a longer conversation repeats is in the prefix cache, and what a prompt repeats comes once.
        if (chunk.from < cached || now.has(name)) continue
        now.add(name)
        if (!this.#seen.again(tenant, ids)) continue
      }
      let waiting = bytes
      for (const one of this.#wanted.values()) waiting += one.bytes
      // Chunks that are being computed have to fit the store's budget, too.
      if (!this.#wanted.has(name) && waiting <= this.#store.room) this.#compute(name, tenant, ids, bytes)
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

  #compute(name: string, tenant: string, ids: readonly number[], bytes: number): void {
    const { sinks } = this
    const wanted = new Wanted(bytes)
    const reader = this.#store.reader(sinks.length, ids.length)
    const settle = () => {
      this.#wanted.delete(name)
      wanted.settle()
    }
    const end = (error?: unknown) => {
      wanted.computed = true
      // A chunk that can't be kept is computed with the next prompt that has it.
      if (error) settle()
      else void this.#store.keep(tenant, ids, reader).then(settle, settle)
    }
    const unused = () => undefined
    try {
      this.#scheduler.add({ ids: [...sinks, ...ids], tenant, kv: reader, bulk: 'last', chooseTokens: unused, end })
      this.#wanted.set(name, wanted)
    } catch {
      // The scheduler takes no more requests now.
    }
  }
}

/**
 * Returns the tokens that two prompts of a user have in common at their beginning: the template's,
 * with the system message that it puts there.
 */
function usualOpening(prompts: Pick<Prompts, 'ids'>): number[] {
  // A model without a chat template may still have a token to begin with, or no text at all.
  const ways = [
    (content: string) => prompts.ids([{ role: 'user', content }]),
    (content: string) => prompts.ids(content, { raw: true }),
  ]
  for (const way of ways)
    try {
      const [one, other] = [way('a'), way('b')]
      return one.slice(
        0,
        one.findIndex((id, index) => id !== other[index]),
      )
    } catch {}
  return []
}
