/** One model of a pool: its state, who uses it, and who waits for it. */
import { callAside } from '../base/callback.ts'
import { ForetokenError } from '../base/errors.ts'
import type { ModelArchive } from '../base/model.ts'
import { startTimer } from '../base/timeout.ts'
import type { TextService } from './service.ts'

/** What a load gets. */
export interface Loading<C> {
  /** Aborted when the pool closes. A load that ignores it delays the close. */
  readonly signal: AbortSignal
  /** That of the request that began the load. */
  readonly context: C | undefined
}

/** A model that a pool loads when it is used. */
export interface PooledModel<C = undefined> {
  readonly name: string
  /** Loads the model; whoever waits gets its failure, and the next use tries again. It may not wait for the pool. */
  readonly load: (loading: Loading<C>) => Promise<TextService>
  /** The bytes of memory that it takes, about, or a function that is asked before each load. Default 0. */
  readonly bytes?: number | (() => number | Promise<number>)
  /** Tells before a load what the model is for, so that a server can refuse another use and loads nothing. */
  readonly header?: Pick<ModelArchive, 'name' | 'config' | 'embedding'>
  /**
   * What to do where `free` bytes of memory are too few for it, which ends the refusal. Default: to use a
   * smaller model, or one in fewer bits.
   */
  readonly advice?: (free: number) => string
}

/** A model that its owner has loaded: the pool neither unloads nor closes it. */
export interface GivenModel {
  readonly name: string
  readonly engine: TextService
}

export type ModelState = 'unloaded' | 'loading' | 'loaded' | 'unloading'

/** How a model of a pool is doing. */
export interface ModelStatus {
  readonly name: string
  readonly state: ModelState
  /** Undefined unless it is loaded. */
  readonly engine: TextService | undefined
  /** What was known of it before a load; undefined if nothing was. */
  readonly header: PooledModel['header'] | undefined
  /** Leases that have not been released. */
  readonly uses: number
  /** Uses that wait for it. */
  readonly waiting: number
  /** Milliseconds until it is unloaded if nobody uses it; undefined if it stays, or is in use. */
  readonly leavesInMs: number | undefined
  /** Loads that succeeded and that failed, and how often it was unloaded. */
  readonly loads: number
  readonly failures: number
  readonly unloads: number
  /** Why it was not loaded when it was last asked for; undefined once it is loaded. */
  readonly failure: ForetokenError | undefined
}

/** Numbers of a load that has no room, in bytes. */
export interface NoRoom {
  readonly bytes: number
  readonly free: number
  /** What unloading all others would free. */
  readonly held: number
}

/** Returns the refusal of a load that has no room. */
export function noRoom(
  { name, advice }: Pick<PooledModel, 'name' | 'advice'>,
  { bytes, free, held }: NoRoom,
): ForetokenError {
  const others = held > 0 ? `, and ${megabytes(held)} more without the other models` : ''
  const what = advice?.(free + held) ?? 'use a smaller model, or one in fewer bits'
  return new ForetokenError(
    'out_of_memory',
    `${name} takes about ${megabytes(bytes)}; ${megabytes(free)} are free${others}, so ${megabytes(bytes - free - held)} are missing; ${what}`,
  )
}

function megabytes(bytes: number): string {
  return `${Math.ceil(bytes / 1e6)} MB`
}

/** Somebody who waits for a model. Both functions end the wait. */
export interface Waiter<C> {
  readonly context: C | undefined
  give(): void
  fail(error: unknown): void
}

export class PoolSlot<C> {
  readonly name: string
  /** Undefined for a model that its owner has loaded. */
  readonly model: PooledModel<C> | undefined
  readonly waiters = new Set<Waiter<C>>()
  state: ModelState = 'unloaded'
  engine: TextService | undefined
  uses = 0
  /** The turn of its last use, in the order of all uses. */
  lastUse = 0
  /** How long it stays loaded without a use, in milliseconds. */
  idleMs: number
  /** Whether it leaves at the end of its uses, whatever `idleMs` says. */
  expires = false
  /** Resolves when it is unloaded; undefined unless it is unloading. */
  unloaded: Promise<void> | undefined
  loads = 0
  failures = 0
  unloads = 0
  failure: ForetokenError | undefined
  #leavesAt: number | undefined
  #stopTimer = () => {}

  constructor(model: PooledModel<C> | GivenModel, idleMs: number) {
    this.name = model.name
    this.idleMs = idleMs
    if ('engine' in model) {
      this.engine = model.engine
      this.state = 'loaded'
      this.model = undefined
    } else this.model = model
  }

  /** The bytes that the loaded model takes, as its backend measures them. */
  get heldBytes(): number {
    let bytes = 0
    callAside(() => {
      bytes = this.engine?.backend.memoryBytes() ?? 0
    })
    return bytes
  }

  /** Returns the bytes that a load takes, about. */
  async bytes(): Promise<number> {
    const { bytes = 0 } = this.model ?? {}
    return typeof bytes === 'number' ? bytes : bytes()
  }

  get status(): ModelStatus {
    const { name, state, engine, uses, loads, failures, unloads, failure } = this
    const leavesInMs = this.#leavesAt === undefined ? undefined : Math.max(0, this.#leavesAt - performance.now())
    const header = this.model?.header
    return {
      name,
      state,
      engine,
      header,
      uses,
      waiting: this.waiters.size,
      leavesInMs,
      loads,
      failures,
      unloads,
      failure,
    }
  }

  /** Starts to wait for the end of its idle time. */
  rest(leave: () => void): void {
    this.wake()
    const idleMs = this.expires ? 0 : this.idleMs
    if (idleMs === Number.POSITIVE_INFINITY) return
    this.#leavesAt = performance.now() + idleMs
    this.#stopTimer = startTimer(idleMs, leave)
  }

  /** Stops that wait. */
  wake(): void {
    this.#stopTimer()
    this.#leavesAt = undefined
  }
}
