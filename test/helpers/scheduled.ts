/** Sets up a scheduler on a fake model, and greedy requests for it. */
import type { Scores } from '../../src/backend/backend.ts'
import type { ForetokenError } from '../../src/base/errors.ts'
import { pageTokens } from '../../src/base/kv.ts'
import { type Predicting, Scheduler, type SchedulerOptions } from '../../src/decode/scheduler.ts'
import type { Job, StatesReader } from '../../src/decode/task.ts'
import { PagedCache } from '../../src/kv/paged.ts'
import { PrefixIndex } from '../../src/kv/prefix.ts'
import type { Sequence } from '../../src/kv/sequence.ts'
import { FakeModel, fakeHidden, fakePool } from './fake-model.ts'

const defaults: SchedulerOptions = {
  order: 'shortest',
  chunk: 128,
  fullRows: 32,
  // No limit by the clock: on a busy machine, what fits into a pass would depend on it.
  stallMs: 1e9,
  refineMs: 30,
  aging: 0.25,
  maxRunning: 64,
  maxWaiting: 1000,
}

export interface Setup {
  readonly pages?: number
  readonly context?: number
  readonly passTokens?: number
  readonly longestShortlist?: number
  readonly prefixPages?: number
  readonly options?: Partial<SchedulerOptions>
  readonly predicting?: Predicting
}

export function setup(given: Setup = {}) {
  const { pages = 64, context, passTokens = 32, longestShortlist, prefixPages = 16, options, predicting } = given
  const model = new FakeModel(passTokens, longestShortlist)
  const cache = new PagedCache(fakePool(), pages, context ?? pages * pageTokens)
  const prefixes = new PrefixIndex(cache, prefixPages * cache.pool.pageBytes)
  const scheduler = new Scheduler(model, cache, prefixes, { ...defaults, ...options }, predicting)
  return { model, cache, prefixes, scheduler }
}

export type Hook = 'onAdmit' | 'onBegin' | 'onPrefill' | 'chooseTokens' | 'end'

/** A greedy request that ends at token 0 or after `most` tokens. */
export class Request implements Job {
  readonly ids: readonly number[]
  readonly tenant: string
  readonly most: number
  /** Number of top logits that it accepts; Infinity if it needs all. */
  readonly best: number
  readonly controller = new AbortController()
  readonly signal = this.controller.signal
  readonly answer: number[] = []
  readonly progress: number[] = []
  mode?: NonNullable<Job['mode']>
  states?: StatesReader
  bulk = false
  /** The states that it has read, by position. */
  readonly read: number[][] = []
  sequence: Sequence | undefined
  admissions = 0
  ended = 0
  error: ForetokenError | undefined
  /** Called first in each callback of the request. */
  inside: (hook: Hook) => void = () => {}

  constructor(ids: readonly number[], most = 8, tenant = '', best = Number.POSITIVE_INFINITY) {
    this.ids = ids
    this.most = most
    this.tenant = tenant
    this.best = best
  }

  /** Makes it a job that reads states. */
  reading(rows: StatesReader['rows']): this {
    this.bulk = true
    const read = (states: Float32Array, position: number) => {
      for (let row = 0; row < states.length / fakeHidden; row++)
        this.read[position + row] = [...states.subarray(row * fakeHidden, (row + 1) * fakeHidden)]
    }
    this.states = { rows, read }
    return this
  }

  onAdmit(): void {
    this.admissions++
    this.inside('onAdmit')
  }

  onBegin(sequence: Sequence): void {
    this.sequence = sequence
    this.read.length = 0
    this.inside('onBegin')
  }

  onPrefill(done: number): void {
    this.progress.push(done)
    this.inside('onPrefill')
  }

  chooseTokens(scores: Scores): readonly number[] | undefined {
    if (this.ended > 0) throw new Error('a token after the end')
    this.inside('chooseTokens')
    const list = 'ids' in scores ? scores : undefined
    if (list && list.ids.length < this.best) throw new Error(`${list.ids.length} of ${this.best} logits`)
    const id = list ? list.ids[0]! : (scores as Float32Array).indexOf(1)
    this.answer.push(id)
    return id === 0 || this.answer.length === this.most ? undefined : [id]
  }

  end(error?: ForetokenError): void {
    this.ended++
    this.error = error
    this.inside('end')
  }
}

export const prompt = (length: number, seed = 1) => Array.from({ length }, (_, i) => 1 + ((i * 7 + seed * 13) % 60))

/** Drives the scheduler until all requests have ended. */
export async function all(scheduler: Scheduler, requests: readonly Request[]): Promise<void> {
  await scheduler.drive(() => requests.every(({ ended }) => ended > 0))
}

/** Returns a function that is true after `count` passes. */
export function turns(count: number): () => boolean {
  let asked = 0
  // `drive` asks before and after each host turn.
  return () => asked++ >= 2 * count
}
