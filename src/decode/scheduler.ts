/**
 * Runs many requests on one model: chunks of prompts and decode steps share passes (continuous
 * batching).
 *
 * Nothing runs in the background. A caller that waits for a token drives: `drive` runs passes for
 * all requests until its own is served. So a host that stops a request's work with the request (an
 * edge isolate) never stops other requests, and nothing is computed while no caller reads.
 *
 * A pass goes through fixed stages: it is planned, its requests are notified, it is computed, and
 * it is served. Code of requests runs in the second and the last stage. Whatever it does, be it
 * cancelling, closing, submitting or throwing, takes effect after the pass.
 */

import type { Scores } from '../backend/backend.ts'
import { cancelled } from '../base/cancelled.ts'
import { asForetokenError, ForetokenError } from '../base/errors.ts'
import { nextTurn } from '../base/next-turn.ts'
import { isWhole } from '../base/numbers.ts'
import type { Pass, Segment } from '../base/pass.ts'
import type { ChunkStore } from '../kv/chunk-store.ts'
import type { PagedCache } from '../kv/paged.ts'
import type { PrefixIndex } from '../kv/prefix.ts'
import { withoutAnswers } from '../model/config.ts'
import type { LoadedModel } from '../model/forward.ts'
import { rowsBetween } from '../pack/placements.ts'
import { type Planning, placedCost } from './chunks.ts'
import { PassCost } from './pass-cost.ts'
import { placementsOf } from './placing.ts'
import { type PassPlan, Planner } from './plan.ts'
import type { Policy } from './policy.ts'
import { attempt, type PassResults, type Serving, serve } from './serve.ts'
import { type Job, Task } from './task.ts'

/** Adds the judgement of first tokens to `Planning`; `predict/choice.ts` implements it. */
export interface Predicting extends Planning {
  doubts(scores: Scores): boolean
}

/** The policy, and limits on requests. */
export interface SchedulerOptions extends Omit<Policy, 'budget'> {
  /**
   * Maximum number of requests that hold KV pages at once. If all places are taken, the tenant that
   * holds most of them loses one to a tenant that would still hold fewer; the preempted request is
   * recomputed later and its answer goes on.
   */
  readonly maxRunning: number
  /**
   * Maximum number of further requests that may wait. A request beyond this is refused as `busy`,
   * unless another tenant has more requests, and more than 5: then the latest of its requests that
   * has not begun is refused instead.
   */
  readonly maxWaiting: number
}

/** The part of a model that the scheduler uses. */
export type PassModel = Pick<LoadedModel, 'passTokens' | 'config' | 'scores'> &
  Partial<StatesModel & Pick<LoadedModel, 'bothWays'>>

/** The part that passes need whose states are read; absent if the model gives none. */
type StatesModel = Pick<LoadedModel, 'through' | 'scoresOf' | 'finalStates'>

/** Totals since the engine was loaded, and the current state. */
export interface SchedulerStats {
  readonly passes: number
  readonly prefill_tokens: number
  readonly cached_tokens: number
  readonly decode_tokens: number
  /** Number of times that a request lost its pages and had to be recomputed. */
  readonly preemptions: number
  readonly running: number
  readonly waiting: number
  readonly pages_in_use: number
  readonly prefix_pages: number
  /** Bytes of the K and V of chunks that are kept. */
  readonly chunk_bytes: number
}

/**
 * Part of a pass's time that the host's event loop gets after it. A new request needs many turns of
 * the loop before it is submitted: hosts accept one connection a turn, read it in another, and hash
 * a key elsewhere. With one turn a pass, each of these steps would take a pass.
 */
const hostShare = 0.01
/** Maximum number of turns between two passes, for hosts whose clock does not advance. */
const mostTurns = 512

/**
 * Number of accepted requests that no tenant can lose to others: only a tenant with more can lose
 * one that was accepted.
 */
const keptRequests = 5

/** Schedules the requests of one engine. */
export class Scheduler {
  readonly #model: PassModel
  readonly #cache: PagedCache
  readonly #prefixes: PrefixIndex
  readonly #chunks: ChunkStore | undefined
  readonly #options: SchedulerOptions
  readonly #predicting: Predicting | undefined
  readonly #cost = new PassCost()
  readonly #tasks = new Set<Task>()
  readonly #planner: Planner
  readonly #serving: Serving
  #added = 0
  #pass: Promise<void> | undefined
  /** No pass begins before this time, so that the host's event loop gets its share. */
  #restUntil = Number.NEGATIVE_INFINITY
  /**
   * True from before a pass is planned until it has been served: requests that end in between wait
   * in `#endings`.
   */
  #endingsWait = false
  readonly #endings: Task[] = []
  #closed = false
  /** Ends the wait for pages held elsewhere, since another request may be able to run now. */
  #wakeBlocked = () => {}
  readonly #count = { passes: 0, prefill_tokens: 0, cached_tokens: 0, decode_tokens: 0, preemptions: 0 }

  constructor(
    model: PassModel,
    cache: PagedCache,
    prefixes: PrefixIndex,
    options: SchedulerOptions,
    predicting?: Predicting,
    chunks?: ChunkStore,
  ) {
    this.#predicting = predicting
    this.#chunks = chunks
    this.#model = model
    this.#cache = cache
    this.#prefixes = prefixes
    this.#options = options
    const { vocab } = model.config
    const policy = { policy: { ...options, budget: model.passTokens }, places: options.maxRunning, vocab }
    this.#planner = new Planner(this.#tasks, { cache, prefixes, chunks }, policy, this.#cost, predicting)
    this.#serving = {
      prefixes,
      doubts: (scores) => predicting?.doubts(scores) ?? false,
      end: (task, error) => this.#end(task, error),
    }
  }

  get stats(): SchedulerStats {
    let running = 0
    for (const task of this.#tasks) if (task.running) running++
    return {
      ...this.#count,
      running,
      waiting: this.#tasks.size - running,
      pages_in_use: this.#cache.pagesInUse,
      prefix_pages: this.#prefixes.pages,
      chunk_bytes: this.#chunks?.bytes ?? 0,
    }
  }

  /**
   * Accepts a request. Throws `empty_prompt`, `bad_argument`, `context_exceeded`, `busy`, and
   * `aborted` after the scheduler was closed.
   */
  add(job: Job): void {
    if (this.#closed) throw closedError()
    this.#check(job)
    this.#makeRoom(job.tenant)
    const sequence = this.#cache.open(job.promptTokens ?? job.ids.length)
    const task = new Task(job, this.#added++, sequence, this.#knownOf(job, sequence.long))
    const { signal } = job
    const cancel = () => this.#end(task, cancelled(signal?.reason))
    if (signal && !signal.aborted) {
      signal.addEventListener('abort', cancel, { once: true })
      task.unlisten = () => signal.removeEventListener('abort', cancel)
    }
    this.#tasks.add(task)
    this.#wakeBlocked()
    if (signal?.aborted) cancel()
  }

  /**
   * Runs passes until `served` returns true. Before each pass the host's event loop gets one turn,
   * and more until it has had its share of time. Any number of callers may drive at once.
   */
  async drive(served: () => boolean): Promise<void> {
    while (!served()) {
      const { passes } = this.#count
      await this.#rest(served)
      if (served()) return
      if (this.#pass) await this.#pass
      else if (this.#count.passes === passes) {
        const begun = performance.now()
        this.#pass = this.#run().finally(() => {
          this.#pass = undefined
          const ended = performance.now()
          this.#restUntil = ended + hostShare * (ended - begun)
        })
        await this.#pass
      }
    }
  }

  /**
   * Waits for the host's share. Another driver may begin and end a pass between two of these turns,
   * so a driver that was served meanwhile stops waiting.
   */
  async #rest(served: () => boolean): Promise<void> {
    for (let turn = 0; turn < mostTurns; turn++) {
      await nextTurn()
      if (this.#pass || performance.now() >= this.#restUntil || served()) return
    }
  }

  /** Ends every request as `aborted`, and accepts no more. Resolves when no pass is running. */
  async close(): Promise<void> {
    this.#closed = true
    for (const task of [...this.#tasks]) this.#end(task, closedError())
    // If called from a notification, `#pass` is set only a microtask later.
    await undefined
    // Its failure is reported to the driver.
    await this.#pass?.catch(() => {})
  }

  /** Returns how many tokens of a job need not be run, as far as is known. */
  #knownOf({ tenant, ids, mode, chunks, states, kv }: Job, long: boolean): number {
    if (states || kv) return 0
    const cached = this.#prefixes.known(tenant, ids, long)
    if (!this.#chunks || !chunks || !mode || mode === 'exact') return cached
    const placements = placementsOf(this.#chunks, { tenant, ids, chunks }, cached)
    return ids.length - rowsBetween(placements, cached, ids.length)
  }

  #check({ ids, states, whole }: Job): void {
    const { context } = this.#cache
    const { passTokens, config, bothWays } = this.#model
    const { vocab } = config
    if (bothWays && !states) throw withoutAnswers(config)
    if (ids.length === 0)
      throw new ForetokenError('empty_prompt', 'the prompt has no tokens; give it at least one character')
    const bad = ids.find((id) => !isWhole(id, 0, vocab - 1))
    if (bad !== undefined)
      throw new ForetokenError('bad_argument', `token id ${bad} is outside the vocabulary 0..${vocab - 1}`)
    if (whole && ids.length > passTokens)
      throw new ForetokenError(
        'context_exceeded',
        `the text has ${ids.length} tokens, and this model reads at most ${passTokens} at once; shorten it, or load with a larger context`,
      )
    if (ids.length > context)
      throw new ForetokenError(
        'context_exceeded',
        `the prompt has ${ids.length} tokens and the context ${context}; shorten it, or load with a larger context`,
      )
  }

  /**
   * If all places are taken, ends a waiting request of the tenant that has most, or refuses the new
   * request as `busy`.
   */
  #makeRoom(tenant: string): void {
    const { maxRunning, maxWaiting } = this.#options
    const held = new Map<string, number>()
    let all = 0
    for (const task of this.#tasks) {
      if (task.ending) continue
      held.set(task.tenant, (held.get(task.tenant) ?? 0) + 1)
      all++
    }
    if (all < maxRunning + maxWaiting) return
    const least = Math.max(keptRequests, (held.get(tenant) ?? 0) + 1)
    let last: Task | undefined
    for (const task of this.#tasks) {
      const requests = held.get(task.tenant) ?? 0
      if (task.ending || task.running || task.streaming || requests <= least) continue
      const more = last ? requests - (held.get(last.tenant) ?? 0) || task.number - last.number : 1
      if (more > 0) last = task
    }
    const { maxPages, pagesInUse } = this.#cache
    const full = `${all} requests run or wait, and ${pagesInUse} of ${maxPages} KV pages are in use`
    if (!last) throw new ForetokenError('busy', `${full}; try again when one has finished`)
    const beyond = `${held.get(last.tenant)} of them are yours, and others ask for their share`
    this.#end(last, new ForetokenError('busy', `${full}; ${beyond}; try again when one has finished`))
  }

  /** Runs one pass from start to end. If none can run, waits until one may. */
  async #run(): Promise<void> {
    let blocked: Promise<void> | undefined
    this.#endingsWait = true
    try {
      const plan = this.#planner.plan()
      this.#count.passes++
      this.#count.preemptions += plan.preemptions
      this.#count.cached_tokens += plan.cachedTokens
      for (const { task, error } of plan.failures) this.#end(task, error)
      for (const { task, notify } of plan.news) if (!task.ending) attempt(task, this.#serving, () => notify(task.job))
      if (plan.pass) await this.#compute(plan, plan.pass)
      else blocked = plan.blocked
    } finally {
      this.#endingsWait = false
      this.#endAll()
    }
    if (!blocked || this.#tasks.size === 0) return
    await new Promise<void>((resolve) => {
      this.#wakeBlocked = resolve
      void blocked.then(resolve)
    })
  }

  async #compute(plan: PassPlan, pass: Pass): Promise<void> {
    const begun = performance.now()
    try {
      const results = await this.#results(pass, plan)
      this.#cost.learn(this.#exactRows(pass), performance.now() - begun)
      const { prefillTokens, decodeTokens } = await serve(plan, results, this.#count.passes, this.#serving)
      this.#count.prefill_tokens += prefillTokens
      this.#count.decode_tokens += decodeTokens
    } catch (error) {
      // Some layers of these pages may have been written and others not, so none of the requests
      // can go on.
      for (const { task } of plan.shares) this.#end(task, asForetokenError(error))
    }
  }

  /**
   * Computes the outputs of a pass, of each row as many of the best logits as its request reads, and
   * the states that are read.
   */
  async #results(pass: Pass, { shares }: PassPlan): Promise<PassResults> {
    const model = this.#model
    const { outputs, states } = pass
    const bests = outputs.map(() => 1)
    for (const { task, row, rows } of shares) bests.fill(task.best, row, row + rows)
    const width = model.config.hidden
    if (!states) return { scores: await model.scores(pass, bests), states: { values: none, width } }
    if (!givesStates(model))
      throw new ForetokenError('unsupported', 'this model does not give its states; use another for embeddings')
    return model.through(pass, async () => {
      const scores = outputs.length > 0 ? await model.scoresOf(outputs, bests) : []
      return { scores, states: { values: await model.finalStates(states), width } }
    })
  }

  /** Returns how many exact rows would cost as much as the pass. */
  #exactRows({ ids, segments, predicted = 0, refined = 0, placed = [] }: Pass): number {
    const rows = (list: readonly Segment[]) => list.reduce((sum, { length }) => sum + length, 0)
    const [front, back] = [rows(segments.slice(0, predicted)), refined === 0 ? 0 : rows(segments.slice(-refined))]
    const cost = this.#predicting?.rowCost ?? { predicted: 1, refined: 1 }
    const given = placedCost * rows(placed.map(({ segment }) => segment))
    return Math.max(1, Math.round(given + ids.length - front * (1 - cost.predicted) - back * (1 - cost.refined)))
  }

  /**
   * Ends a request: at once between passes, otherwise after the current one. Only the first end
   * counts.
   */
  #end(task: Task, error?: ForetokenError): void {
    if (task.ending) return
    task.ending = { error }
    this.#endings.push(task)
    if (!this.#endingsWait) this.#endAll()
  }

  /**
   * Releases requests that have ended. Releasing one may end others, which are released after it,
   * not nested in it.
   */
  #endAll(): void {
    this.#endingsWait = true
    try {
      for (let task = this.#endings.shift(); task; task = this.#endings.shift()) this.#release(task)
    } finally {
      this.#endingsWait = false
    }
  }

  #release(task: Task): void {
    const error = task.ending?.error
    task.unlisten()
    this.#tasks.delete(task)
    this.#wakeBlocked()
    // The answer is complete even if its prefix can't be kept: it is then recomputed when needed.
    if (!error) quietly(() => task.keepIn(this.#prefixes))
    task.sequence.release()
    this.#prefixes.trim()
    quietly(() => task.job.end(error))
  }
}

const none = new Float32Array(0)

function givesStates(model: PassModel): model is PassModel & StatesModel {
  return model.finalStates !== undefined
}

function closedError(): ForetokenError {
  return new ForetokenError('aborted', 'the engine was closed')
}

function quietly(run: () => void): void {
  try {
    run()
  } catch {
    // The request has ended: there is no caller left to notify.
  }
}
