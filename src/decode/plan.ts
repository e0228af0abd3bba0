/**
 * Plans a pass as a value: what is computed for which request, fixed before anything runs. No code
 * from outside runs during planning. Notifications for requests are part of the plan, and whatever
 * the requests do in response cannot change it.
 */
import { asForetokenError, ForetokenError } from '../base/errors.ts'
import type { Pass, Segment } from '../base/pass.ts'
import type { ChunkStore } from '../kv/chunk-store.ts'
import type { PagedCache } from '../kv/paged.ts'
import type { PrefixIndex } from '../kv/prefix.ts'
import { States } from '../kv/states.ts'
import { type Chunk, countOf, layOut, takePages } from '../pack/pack.ts'
import type { Placement } from '../pack/placements.ts'
import { checkableCount, checkedRowsOf, chunksOf, type Planning, placedCost, type ShareKind } from './chunks.ts'
import type { PassCost } from './pass-cost.ts'
import { placementsOf } from './placing.ts'
import {
  type Policy,
  promptShares,
  refinedBeside,
  refineShares,
  reservedRows,
  type Share,
  streamsInOrder,
} from './policy.ts'
import { Room } from './room.ts'
import type { Job, Task } from './task.ts'
import { TenantAccounts } from './tenant-accounts.ts'

/** What a pass computes for one request. */
export interface PlannedShare {
  readonly task: Task
  readonly kind: ShareKind
  readonly count: number
  /** How many of its tokens are placed and not run. */
  readonly placed: number
  /** Position of its first token. */
  readonly from: number
  /** Index of its first row among the outputs of the pass. */
  readonly row: number
  /** Number of its rows among the outputs of the pass: the last of its rows. */
  readonly rows: number
  /** Number of its rows among the states of the pass, which are in the order of the shares. */
  readonly states: number
}

/** A planned pass. */
export interface PassPlan {
  /** In the order in which they are served. */
  readonly shares: readonly PlannedShare[]
  /** Undefined if there is nothing to run. */
  readonly pass: Pass | undefined
  /** Notifications to send before the pass runs, in order. */
  readonly news: readonly News[]
  /** Requests that could not be planned, each with its own error. */
  readonly failures: readonly Failure[]
  readonly cachedTokens: number
  readonly preemptions: number
  /**
   * Resolves when a request may run again. Defined if work outside of requests holds the pages,
   * which it frees when it ends.
   */
  readonly blocked: Promise<void> | undefined
}

interface News {
  readonly task: Task
  notify(job: Job): void
}

interface Failure {
  readonly task: Task
  readonly error: ForetokenError
}

/** Pages, and what is kept of earlier requests. */
interface Kept {
  readonly cache: PagedCache
  readonly prefixes: PrefixIndex
  readonly chunks?: ChunkStore | undefined
}

/** A share whose pages have not been allocated yet. */
interface Wanted extends Share<Task> {
  readonly kind: ShareKind
}

/**
 * Limit of a tenant's lead over others, in passes of the largest size: bounds how long it must
 * wait.
 */
const debtPasses = 4

/** Plans the passes of one scheduler. */
export class Planner {
  readonly #tasks: ReadonlySet<Task>
  readonly #cache: PagedCache
  readonly #prefixes: PrefixIndex
  readonly #chunks: ChunkStore | undefined
  readonly #policy: Policy
  readonly #cost: PassCost
  readonly #planning: Planning | undefined
  readonly #room: Room
  /** Maximum number of a request's rows in a pass whose whole scores are checked. */
  readonly #checkedRows: number
  readonly #accounts: TenantAccounts
  /** State of the plan in progress. */
  #news: News[] = []
  #failures: Failure[] = []
  #cachedTokens = 0
  #preemptions = 0
  #blocked: Promise<void> | undefined
  /**
   * New prompts that were refused for lack of pages, the first of each tenant. No other prompt of
   * that tenant is admitted before it. If the tenant holds no pages, no prompt of any tenant is: a
   * tenant that holds some waits for its own requests to end.
   */
  readonly #turnedDown = new Map<string, Task>()
  #closed = false
  /** Requests that could not get more rows than they did, for lack of pages or places. */
  readonly #held = new Set<Task>()

  /**
   * `tasks` is the scheduler's set, which each plan reads; at most `places` of its requests hold
   * pages at once.
   */
  constructor(
    tasks: ReadonlySet<Task>,
    { cache, prefixes, chunks }: Kept,
    { policy, places, vocab }: { readonly policy: Policy; readonly places: number; readonly vocab: number },
    cost: PassCost,
    planning: Planning | undefined,
  ) {
    this.#tasks = tasks
    this.#cache = cache
    this.#prefixes = prefixes
    this.#chunks = chunks
    this.#policy = policy
    this.#cost = cost
    this.#planning = planning
    this.#checkedRows = checkedRowsOf(vocab)
    this.#accounts = new TenantAccounts(debtPasses * policy.budget)
    this.#room = new Room(tasks, cache, places, (task) => this.#preempt(task))
  }

  plan(): PassPlan {
    const tenants = new Set<string>()
    for (const { tenant } of this.#tasks) tenants.add(tenant)
    this.#accounts.beginPlan(tenants)
    this.#room.open(tenants)
    this.#news = []
    this.#failures = []
    this.#cachedTokens = 0
    this.#preemptions = 0
    this.#blocked = undefined
    this.#turnedDown.clear()
    this.#closed = false
    this.#held.clear()
    for (const task of this.#tasks) if (task.outgrown && task.inexact === 0) this.#preempt(task)
    const wanted = this.#wanted()
    if (wanted.length === 0 && this.#failures.length === 0 && this.#tasks.size > 0) this.#unblock()
    const waiting = this.#waiting(wanted)
    const { shares, pass } = this.#allocate(wanted)
    this.#accounts.endPlan(waiting)
    return {
      shares,
      pass,
      news: this.#news,
      failures: this.#failures,
      cachedTokens: this.#cachedTokens,
      preemptions: this.#preemptions,
      blocked: this.#blocked,
    }
  }

  #wanted(): Wanted[] {
    const tasks = [...this.#tasks]
    const { budget } = this.#policy
    const standings = this.#accounts.standingOf
    // An answer is checked by the factors with which its tokens were chosen, before it grows on.
    const streams = streamsInOrder(
      tasks.filter((task) => !task.outgrown),
      standings,
    )
    const steps = this.#steps(streams.slice(0, budget - reservedRows(tasks, this.#policy)))
    const growing = new Set(steps.map(({ candidate }) => candidate))
    const admit = (task: Task, limit: number) => this.#admit(task, limit, growing)
    const refining = tasks.filter((task) => task.running)
    const kept = Math.min(budget - steps.length, refinedBeside(refining, this.#policy))
    const prompts = promptShares(tasks, steps.length + kept, this.#policy, this.#cost, admit, this.#accounts)
    if (prompts.length > 0) {
      // Admitting a prompt may have preempted requests that got their share earlier in this plan.
      const shares = [...steps, ...prompts.map((share) => ({ ...share, kind: 'prompt' as const }))]
      const staying = shares.filter(({ candidate }) => this.#room.promised(candidate))
      const rows = staying.reduce((sum, { count }) => sum + count, 0)
      return [...this.#refined(rows, true), ...staying]
    }
    const all = this.#steps(streams.slice(0, budget))
    return [...this.#refined(all.length, false), ...all]
  }

  /** Returns the tenants that could use more rows than they get in this pass. */
  #waiting(wanted: readonly Wanted[]): Set<string> {
    const counts = new Map<Task, number>()
    for (const { candidate, kind, count } of wanted) if (kind !== 'refine') counts.set(candidate, count)
    const waiting = new Set<string>()
    for (const task of this.#tasks) {
      const { tenant, pending } = task
      const wants = pending - (counts.get(task) ?? 0)
      if (wants > 0 && !this.#held.has(task)) waiting.add(tenant)
    }
    return waiting
  }

  /** Returns the rows that are made exact beside `taken` others, some of them `prompts` or none. */
  #refined(taken: number, prompts: boolean): Wanted[] {
    const tasks = [...this.#tasks].filter((task) => task.running)
    const refining = { rowCost: this.#planning?.rowCost.refined, standings: this.#accounts.standingOf, prompts }
    return refineShares(tasks, taken, this.#policy, this.#cost, refining).map((share) => ({ ...share, kind: 'refine' }))
  }

  /** Returns a decode step for each stream that gets its page. */
  #steps(streams: readonly Task[]): Wanted[] {
    this.#room.withdraw()
    const secured = streams.filter((task) => task.running && this.#room.step(task))
    // Securing pages for one stream may have preempted another that was secured before it.
    return secured.filter(({ running }) => running).map((candidate) => ({ candidate, count: 1, kind: 'step' }))
  }

  /**
   * Returns whether a prompt gets its pages. After a new prompt was refused, no new one is admitted
   * before it, so that small requests can't overtake a large one forever; prompts that hold pages
   * go on, since they will return them. `growing` are the streams that take a step in this pass.
   */
  #admit(task: Task, limit: number, growing: ReadonlySet<Task>): boolean {
    const admitted = task.running
      ? this.#more(task, task.reach(Math.min(limit, task.pending)))
      : !this.#closed &&
        !this.#turnedDown.has(task.tenant) &&
        this.#room.hasPlace(task) &&
        this.#begun(task, limit, growing)
    if (!admitted) this.#held.add(task)
    return admitted
  }

  /** Returns whether a request that holds pages gets more. An answer goes before what came later, as its steps do. */
  #more(task: Task, tokens: number): boolean {
    return task.streaming ? this.#room.step(task, tokens) : this.#room.more(task, tokens)
  }

  #begun(task: Task, limit: number, growing: ReadonlySet<Task>): boolean {
    try {
      return this.#begin(task, limit, growing)
    } catch (error) {
      this.#fail(task, error)
      return false
    }
  }

  #begin(task: Task, limit: number, growing: ReadonlySet<Task>): boolean {
    const { sequence, tokens, tenant } = task
    const asked = performance.now()
    // The states of cached tokens could not be read, nor the scores that are to be checked.
    const unread = task.checks(0, tokens.length) > 0 ? tokens.slice(0, task.unchecked.from + 1) : tokens
    sequence.expect(task.held)
    if (!task.reads) sequence.adopt(this.#prefixes.match(tenant, unread, sequence.long))
    const cached = sequence.length
    task.placements = this.#placements(task)
    const known = performance.now()
    let streams = 0
    for (const { running } of growing) if (running) streams++
    if (!this.#room.enter(task, task.reach(Math.min(limit, task.pending)), streams)) {
      this.#release(task)
      this.#turnedDown.set(tenant, task)
      this.#closed ||= !this.#room.holds(tenant)
      return false
    }
    if (!task.streaming) {
      const predicted = this.#beginInexact(task)
      const total = tokens.length
      this.#notify(task, (job) => job.onAdmit?.(asked))
      this.#notify(task, (job) => job.onBegin?.(sequence, cached))
      this.#notify(task, (job) => job.onPrefill?.(cached, total, known))
      const { placements } = task
      if (placements.length > 0) this.#notify(task, (job) => job.onPlaced?.(placements))
      // A prompt that was predicted before a preemption may be exact now.
      if (predicted || task.notifiedInexact) this.#notifyCache(task, predicted ? 'predicted' : 'exact')
    }
    this.#cachedTokens += cached
    return true
  }

  /** Returns the places of the kept chunks of a prompt, behind what its cache holds. */
  #placements({ streaming, sequence, tenant, job: { ids, chunks, mode = 'exact' } }: Task): Placement[] {
    if (!this.#chunks || !chunks || mode === 'exact' || streaming) return []
    return placementsOf(this.#chunks, { tenant, ids, chunks }, sequence.length)
  }

  /** Allows a prompt's K and V to be inexact as its request says, and returns whether any will be. */
  #beginInexact({ sequence, tokens, placements, job: { mode = 'exact', predicts = true } }: Task): boolean {
    const [first] = placements
    if (!first) return predicts && (this.#planning?.begin(sequence, tokens.length, mode) ?? false)
    const range = { first: sequence.length, until: tokens.length }
    sequence.predict(new States({ width: 0, ...range, kept: mode !== 'predicted', placed: true }), first.from)
    return true
  }

  #release(task: Task): void {
    task.placements = []
    task.sequence.release()
  }

  /**
   * Releases a request's pages after offering the exact ones to the prefix cache, where this
   * request and others can find them again.
   */
  #preempt(task: Task): void {
    this.#preemptions++
    try {
      task.keepIn(this.#prefixes)
    } catch (error) {
      this.#fail(task, error)
    }
    // If this plan admitted the prompt, it is now as before: drop its notifications.
    if (!task.streaming) this.#news = this.#news.filter((news) => news.task !== task)
    // An answer that has begun is recomputed exactly.
    if (task.streaming && task.sequence.states) this.#notifyCache(task, 'exact')
    task.doubted = false
    this.#release(task)
  }

  #notify(task: Task, notify: (job: Job) => void): void {
    this.#news.push({ task, notify })
  }

  #notifyCache(task: Task, kind: 'predicted' | 'exact'): void {
    this.#notify(task, (job) => {
      task.notifiedInexact = kind === 'predicted'
      job.onCache?.(kind)
    })
  }

  #fail(task: Task, error: unknown): void {
    this.#failures.push({ task, error: asForetokenError(error) })
    this.#release(task)
  }

  /**
   * Resolves a plan in which nothing can run. If partly read prompts block each other, the latest
   * one is preempted. Otherwise the pages are held outside of requests. If that work will end, the
   * plan waits for it; if not, the request that can't get its pages fails.
   */
  #unblock(): void {
    const victim = this.#room.latest()
    let first: Task | undefined
    for (const task of this.#tasks) if (!first || task.number < first.number) first = task
    if (victim && victim !== first) {
      this.#room.preempt(victim)
      return
    }
    this.#blocked = this.#cache.coming
    if (this.#blocked) return
    const [turnedDown] = this.#turnedDown.values()
    const stuck = victim ?? turnedDown ?? first
    if (!stuck) return
    const { pagesInUse, maxPages, memoryEnded } = this.#cache
    const short = `${stuck.unread} more tokens do not fit beside ${pagesInUse} KV pages held by sessions and loaded prefixes`
    this.#fail(
      stuck,
      memoryEnded
        ? new ForetokenError('out_of_memory', `${short}: memory holds no more than ${maxPages}; release some`, {
            cause: memoryEnded,
          })
        : new ForetokenError(
            'out_of_pages',
            `${short}, of ${maxPages}; release some, or load the engine with more kvTokens`,
          ),
    )
  }

  /**
   * Allocates the pages of all shares. A request whose pages can't be had, because memory does not
   * grow or the model refuses, fails alone.
   */
  #allocate(wanted: readonly Wanted[]): { shares: PlannedShare[]; pass: Pass | undefined } {
    const failed = new Set(this.#failures.map(({ task }) => task))
    const allocated: { share: Wanted; from: number; chunks: Chunk[]; segments: Segment[] }[] = []
    for (const whole of wanted) {
      const { candidate: task, kind } = whole
      if (failed.has(task)) continue
      try {
        const from = kind === 'refine' ? task.sequence.exact : task.sequence.length
        const count = kind === 'prompt' ? task.reach(whole.count) : whole.count
        const share = { ...whole, count: checkableCount({ ...whole, count }, from, this.#checkedRows) }
        const chunks = chunksOf(share, from, this.#planning)
        allocated.push({ share, from, chunks, segments: takePages(chunks) })
      } catch (error) {
        failed.add(task)
        this.#fail(task, error)
      }
    }
    const planned = allocated.filter(({ share }) => !failed.has(share.candidate))
    if (planned.length === 0) return { shares: [], pass: undefined }
    let rows = 0
    const shares = planned.map(({ share: { candidate, kind, count }, from, chunks }): PlannedShare => {
      this.#accounts.charge(candidate.tenant, this.#workOf(chunks))
      const row = rows
      rows = chunks.reduce((sum, { outputs, ids }) => sum + countOf(outputs, ids.length), rows)
      const states = chunks.reduce((sum, { states = 'none', ids }) => sum + countOf(states, ids.length), 0)
      const placed = chunks.reduce((sum, { kind, ids }) => sum + (kind === 'placed' ? ids.length : 0), 0)
      return { task: candidate, kind, count, placed, from, row, rows: rows - row, states }
    })
    const pass = layOut(
      planned.flatMap(({ chunks }) => chunks),
      planned.flatMap(({ segments }) => segments),
    )
    return { shares, pass }
  }

  /** Returns the work in units of exact rows. */
  #workOf(chunks: readonly Chunk[]): number {
    const { predicted = 1, refined = 1 } = this.#planning?.rowCost ?? {}
    const costs = { predicted, refined, exact: 1, placed: placedCost }
    return chunks.reduce((sum, { ids, kind = 'exact' }) => sum + ids.length * costs[kind], 0)
  }
}
