/**
 * Owns the engines of several models: loads a model when it is used, shares the load among all who
 * wait for it, and unloads the models that were used least recently when memory, or the number of
 * models, asks for it. A model in use stays. Loads run one after another, in the order in which
 * they were asked for, because they share the processor and the memory is measured between them.
 *
 * A load that needs the place of a model in use waits until its last lease is released. Later uses
 * of that model wait behind the load, so that no model is kept out for ever.
 */

import { callAside } from '../base/callback.ts'
import { abortReason, throwIfAborted } from '../base/cancelled.ts'
import { textOf, wrong } from '../base/checks.ts'
import { asForetokenError, ForetokenError } from '../base/errors.ts'
import { nearestOf } from '../base/nearest.ts'
import { startTimer } from '../base/timeout.ts'
import { checkedPool, checkedUse, type ModelLease, type ModelPoolOptions, type UseOptions } from './pool-options.ts'
import {
  type GivenModel,
  type Loading,
  type ModelStatus,
  noRoom,
  type PooledModel,
  PoolSlot,
  type Waiter,
} from './pool-slot.ts'
import { isAnyEngine, type TextService } from './service.ts'

/** `C` is what a use passes to a load. */
export class ModelPool<C = undefined> {
  readonly #slots: ReadonlyMap<string, PoolSlot<C>>
  readonly #options: Required<Omit<ModelPoolOptions, 'keep' | 'idleMs'>>
  readonly #keep: number
  /** The models that somebody waits for, in the order of their loads. */
  readonly #queue: PoolSlot<C>[] = []
  /** The models that must go for the first of the queue: nobody else may begin to use them. */
  #leaving: ReadonlySet<PoolSlot<C>> = new Set()
  /** The first of the queue, for which they leave. */
  #first: PoolSlot<C> | undefined
  /** Bytes that the first of the queue has been given by unloading, even if the host does not show them yet. */
  #given = 0
  #change = Promise.withResolvers<void>()
  #serving: Promise<void> | undefined
  #turn = 0
  readonly #closing = new AbortController()

  /** Throws `bad_argument`, also for two models of one name. */
  constructor(models: readonly (PooledModel<C> | GivenModel)[], wanted: ModelPoolOptions = {}) {
    const { list, keep, idleMs, ...options } = checkedPool(models, wanted)
    if (list.length === 0) throw new ForetokenError('bad_argument', 'a pool needs at least one model')
    this.#slots = new Map(list.map((model) => [model.name, new PoolSlot<C>(model, idleMs)]))
    if (this.#slots.size < list.length)
      throw new ForetokenError('bad_argument', `two models have one name: ${list.map(({ name }) => name).join(', ')}`)
    this.#keep = keep
    this.#options = options
  }

  /** How each model is doing, in the order in which they were given. */
  get models(): readonly ModelStatus[] {
    return [...this.#slots.values()].map(({ status }) => status)
  }

  /** Returns the engine of a model; undefined unless it is loaded. It may be unloaded at any time. */
  engineOf(name: string): TextService | undefined {
    return this.#slots.get(name)?.engine
  }

  /**
   * Resolves with a lease of the model, loading it if need be. Rejects with `not_found` (with the
   * nearest names), `out_of_memory` if it cannot fit, `busy` if the models in its place stayed in
   * use, `aborted`, and what its load rejects with.
   */
  async use(name: string, wanted: UseOptions<C> = {}): Promise<ModelLease> {
    const { signal, context, idleMs } = checkedUse(wanted)
    const slot = this.#slots.get(textOf('name', name))
    if (!slot) throw this.#unknown(name)
    throwIfAborted(this.#closing.signal)
    throwIfAborted(signal)
    if (idleMs !== undefined) slot.idleMs = idleMs
    if (slot.state === 'loaded' && !this.#leaving.has(slot)) return this.#lease(slot)
    return this.#wait(slot, context, signal)
  }

  /**
   * Unloads a model as soon as nobody uses it, and loads nothing. A use that begins before lets it stay
   * as long as usual. A model that its owner has loaded stays. Throws `not_found`.
   */
  unload(name: string): void {
    const slot = this.#slots.get(textOf('name', name))
    if (!slot) throw this.#unknown(name)
    if (slot.state !== 'loaded') return
    slot.expires = true
    if (slot.uses === 0) this.#rest(slot)
  }

  /** Ends all waits and loads as `aborted`, and closes the engines. May be called twice. */
  async close(): Promise<void> {
    const reason = new ForetokenError('aborted', 'the pool of models was closed')
    this.#closing.abort(reason)
    const slots = [...this.#slots.values()]
    for (const slot of slots) {
      slot.wake()
      for (const waiter of [...slot.waiters]) waiter.fail(reason)
    }
    await this.#serving
    for (const slot of slots) if (slot.state === 'loaded' && slot.model) this.#unload(slot)
    await Promise.all(slots.map(({ unloaded }) => unloaded))
  }

  #wait(slot: PoolSlot<C>, context: C | undefined, signal: AbortSignal | undefined): Promise<ModelLease> {
    return new Promise((resolve, reject) => {
      const { waitMs } = this.#options
      const ended = () => {
        slot.waiters.delete(waiter)
        stopTimer()
        signal?.removeEventListener('abort', left)
        this.#changed()
      }
      const waiter: Waiter<C> = {
        context,
        give: () => {
          ended()
          resolve(this.#lease(slot))
        },
        fail: (error) => {
          ended()
          reject(error)
        },
      }
      const left = () => signal && waiter.fail(abortReason(signal))
      const late = () => slot.state !== 'loading' && waiter.fail(this.#busy(slot))
      // A load takes as long as it takes.
      const stopTimer = startTimer(waitMs, late)
      signal?.addEventListener('abort', left, { once: true })
      slot.waiters.add(waiter)
      if (!this.#queue.includes(slot)) this.#queue.push(slot)
      this.#serving ??= this.#serve()
    })
  }

  /** Loads one model of the queue after another, until nobody waits. */
  async #serve(): Promise<void> {
    // Callers' functions run only after this call has returned.
    await undefined
    for (let slot = this.#settle(); slot; slot = this.#settle()) {
      const { promise: change } = this.#change
      try {
        const bytes = await slot.bytes()
        const free = Math.max(await this.#options.room(), this.#given)
        if (slot.waiters.size === 0) continue
        const going = [...this.#slots.values()].flatMap(({ unloaded }) => unloaded ?? [])
        if (going.length > 0) {
          await Promise.all(going)
          continue
        }
        const victims = this.#victimsOf(slot, bytes, free)
        this.#leaving = new Set(victims)
        this.#settle()
        if (victims.some(({ uses }) => uses > 0)) await change
        else if (victims.length > 0) await this.#clear(victims, { free, needed: bytes > free })
        else await this.#load(slot)
      } catch (error) {
        this.#fail(slot, error)
      }
    }
    this.#serving = undefined
  }

  /**
   * Gives leases of loaded models to all who may have one, and returns the first model that must be
   * loaded.
   */
  #settle(): PoolSlot<C> | undefined {
    for (;;) {
      const waited = this.#queue.filter(({ waiters }) => waiters.size > 0)
      this.#queue.splice(0, this.#queue.length, ...waited)
      const [first] = waited
      if (first !== this.#first) {
        this.#first = first
        this.#leaving = new Set()
        this.#given = 0
      }
      const ready = waited.find((slot) => slot.state === 'loaded' && !this.#leaving.has(slot))
      if (!ready) return first
      for (const waiter of [...ready.waiters]) waiter.give()
    }
  }

  /**
   * Returns the models that must go for another: idle ones first, and those that were used least
   * recently. Throws `out_of_memory` if there are not enough.
   */
  #victimsOf(slot: PoolSlot<C>, bytes: number, free: number): PoolSlot<C>[] {
    const loaded = [...this.#slots.values()].filter(({ state }) => state === 'loaded')
    const movable = loaded
      .filter(({ model }) => model !== undefined)
      .sort((a, b) => Number(a.uses > 0) - Number(b.uses > 0) || a.lastUse - b.lastUse)
    const victims: PoolSlot<C>[] = []
    let tooMany = loaded.length + 1 - this.#keep
    let missing = bytes - free
    for (const one of movable) {
      if (tooMany <= 0 && missing <= 0) break
      victims.push(one)
      tooMany--
      missing -= one.heldBytes
    }
    if (missing <= 0 && tooMany <= 0) return victims
    if (missing > 0) throw noRoom(slot.model ?? slot, { bytes, free, held: bytes - free - missing })
    throw new ForetokenError(
      'out_of_memory',
      `${slot.name} would be one model more than the ${this.#keep} to keep, which can't be unloaded`,
    )
  }

  async #clear(
    victims: readonly PoolSlot<C>[],
    { free, needed }: { readonly free: number; readonly needed: boolean },
  ): Promise<void> {
    const held = victims.reduce((sum, { heldBytes }) => sum + heldBytes, 0)
    for (const victim of victims) this.#unload(victim)
    await Promise.all(victims.map(({ unloaded }) => unloaded))
    this.#given = free + held
    if (needed) await this.#options.reclaim(true)
    else callAside(() => this.#options.reclaim(false))
  }

  async #load(slot: PoolSlot<C>): Promise<void> {
    const { model } = slot
    const [begins] = slot.waiters
    if (!model) return
    slot.state = 'loading'
    const { signal } = this.#closing
    try {
      const loading: Loading<C> = { signal, context: begins?.context }
      const engine = await model.load(loading)
      if (!isAnyEngine(engine)) throw wrong(`what the load of ${slot.name} gives`, 'an engine', engine)
      slot.engine = engine
      slot.state = 'loaded'
      slot.failure = undefined
      slot.loads++
      slot.lastUse = ++this.#turn
      // Whoever asked may have left.
      if (slot.waiters.size === 0) this.#rest(slot)
    } catch (error) {
      slot.state = 'unloaded'
      slot.failures++
      this.#fail(slot, error)
    }
  }

  #fail(slot: PoolSlot<C>, error: unknown): void {
    const failure = asForetokenError(error, 'io', `${slot.name} could not be loaded`)
    slot.failure = failure
    for (const waiter of [...slot.waiters]) waiter.fail(failure)
  }

  #lease(slot: PoolSlot<C>): ModelLease {
    const { name, engine } = slot
    if (!engine) throw new ForetokenError('internal', `${name} is not loaded`)
    slot.uses++
    slot.expires = false
    slot.lastUse = ++this.#turn
    slot.wake()
    let held = true
    const release = () => {
      if (!held) return
      held = false
      slot.uses--
      slot.lastUse = ++this.#turn
      if (slot.uses === 0) this.#rest(slot)
      this.#changed()
    }
    return { name, engine, release }
  }

  #rest(slot: PoolSlot<C>): void {
    if (!slot.model || slot.state !== 'loaded' || this.#closing.signal.aborted) return
    slot.rest(() => {
      this.#unload(slot)
      void slot.unloaded?.then(() => callAside(() => this.#options.reclaim(false)))
    })
  }

  /** Unloads a model that nobody uses, or all use of which ends. */
  #unload(slot: PoolSlot<C>): void {
    const { engine } = slot
    slot.wake()
    slot.state = 'unloading'
    slot.engine = undefined
    const close = async () => {
      try {
        await engine?.close()
      } catch {
        // Nobody can do anything about an engine that does not close.
      }
      slot.state = 'unloaded'
      slot.unloads++
      slot.unloaded = undefined
      this.#changed()
    }
    slot.unloaded = close()
  }

  #changed(): void {
    this.#change.resolve()
    this.#change = Promise.withResolvers()
  }

  #busy(slot: PoolSlot<C>): ForetokenError {
    const used = [...this.#slots.values()].filter(({ uses }) => uses > 0)
    const who = used.map(({ name, uses }) => `${name} (${uses} ${uses === 1 ? 'request' : 'requests'})`).join(', ')
    return new ForetokenError(
      'busy',
      `${slot.name} waited ${this.#options.waitMs / 1000} s for the place of models in use: ${who || 'none'}; try again`,
    )
  }

  #unknown(name: string): ForetokenError {
    const names = [...this.#slots.keys()]
    const near = name.length <= 100 ? nearestOf(name, names, 3) : []
    const shown = near.length > 0 ? near : names.slice(0, 10)
    return new ForetokenError(
      'not_found',
      `the pool has no model ${JSON.stringify(name.slice(0, 100))}; ${near.length > 0 ? 'the nearest are' : 'it has'} ${shown.join(', ')}`,
    )
  }
}
