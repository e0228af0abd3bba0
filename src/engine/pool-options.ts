/** The options of a pool of models, and their checks. */
import { signalOf, textOf, withArguments, wrong } from '../base/checks.ts'
import {
  anyObject,
  type Check,
  type Checks,
  callable,
  checkedFields,
  listWith,
  needed,
  numberFrom,
  wholeFrom,
} from '../base/fields.ts'
import type { GivenModel, PooledModel } from './pool-slot.ts'
import { isAnyEngine, type TextService } from './service.ts'

export interface ModelPoolOptions {
  /** Maximum number of models in memory. Default: as many as fit. */
  readonly keep?: number
  /** How long a model stays in memory without a use, in milliseconds. Default: until another needs its place. */
  readonly idleMs?: number
  /** How long a use waits for the place of models that are in use, in milliseconds. Default 600,000. */
  readonly waitMs?: number
  /** Returns the bytes of memory that are free. Default: no limit. */
  readonly room?: () => number | Promise<number>
  /**
   * Called after models were unloaded, to give their memory back to the host; `now` if a load waits
   * for it.
   */
  readonly reclaim?: (now: boolean) => unknown
}

export interface UseOptions<C = undefined> {
  /** Ends the wait for the model. A load that has begun goes on, since others may wait for it. */
  readonly signal?: AbortSignal | undefined
  /** Passed to the load, if this use begins it. */
  readonly context?: C
  /** How long this model stays without a use from now on, in milliseconds. Default: as before. */
  readonly idleMs?: number | undefined
}

/** A model in use. It stays in memory until it is released. */
export interface ModelLease {
  readonly name: string
  readonly engine: TextService
  /** Ends the use. May be called twice. */
  release(): void
}

const anyTime = numberFrom(0, Number.POSITIVE_INFINITY)

const optionChecks: Checks<ModelPoolOptions> = {
  keep: wholeFrom(1),
  idleMs: anyTime,
  waitMs: anyTime,
  room: callable(),
  reclaim: callable(),
}

const useChecks: Checks<UseOptions<object>> = {
  signal: signalOf as Check<AbortSignal>,
  context: (_, value) => value as object,
  idleMs: anyTime,
}

const modelChecks: Checks<PooledModel<never>> = {
  name: needed(textOf),
  load: needed(callable()),
  bytes: bytesOf,
  header: anyObject<NonNullable<PooledModel['header']>>(),
  advice: callable(),
}
const givenChecks: Checks<GivenModel> = { name: needed(textOf), engine: needed(anyObject<TextService>()) }

const anyBytes = numberFrom(0)

function bytesOf(name: string, value: unknown): NonNullable<PooledModel['bytes']> {
  return typeof value === 'number' ? anyBytes(name, value) : callable<() => number>()(name, value)
}

/** Returns the models and the options of a pool. Throws `bad_argument`. */
export function checkedPool<C>(models: readonly (PooledModel<C> | GivenModel)[], wanted: ModelPoolOptions) {
  return withArguments('ModelPool', () => {
    const list = listWith<PooledModel<C> | GivenModel>(checkedModel)('models', models)
    const options = checkedFields('the options', wanted, optionChecks, 'be absent')
    return { list, ...defaults, ...options }
  })
}

const defaults: Required<ModelPoolOptions> = {
  keep: Number.POSITIVE_INFINITY,
  idleMs: Number.POSITIVE_INFINITY,
  waitMs: 600_000,
  room: () => Number.POSITIVE_INFINITY,
  reclaim: () => {},
}

/** Returns the options of a use. Throws `bad_argument`. */
export function checkedUse<C>(wanted: UseOptions<C>): UseOptions<C> {
  return withArguments('use', () => checkedFields('the options', wanted, useChecks, 'be absent')) as UseOptions<C>
}

function checkedModel<C>(name: string, value: unknown): PooledModel<C> | GivenModel {
  const given = Object(value) as Partial<GivenModel>
  if (given.engine === undefined) return checkedFields(name, value, modelChecks as unknown as Checks<PooledModel<C>>)
  const checked = checkedFields(name, value, givenChecks)
  if (!isAnyEngine(checked.engine)) throw wrong(`${name}.engine`, 'an engine', checked.engine)
  return checked
}
