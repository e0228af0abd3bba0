/**
 * A pass as a value: what is computed for whom, fixed before anything is run. No code from outside runs while it is made: what requests
 * are to be told lies in the plan, and whatever they do about it finds a plan that does not change any more.
 */
import { asForetokenError, ForetokenError } from '../base/errors.ts'
import type { Pass, Segment } from '../base/pass.ts'
import type { PagedCache, Sequence } from '../kv/paged.ts'
import type { PrefixIndex } from '../kv/prefix.ts'
import { layOut, type Run, takePages } from '../pack/pack.ts'
import type { PassCost } from './pass-cost.ts'
import { type Policy, promptShares, refineShares, reservedRows, type Share, streamsInOrder } from './policy.ts'
import { Room } from './room.ts'
import type { Job, Task } from './task.ts'
import { Turns } from './turns.ts'

/** How requests may be prefilled otherwise than exactly; `predict/choice.ts` decides. */
export interface Planning {
  begin(sequence: Sequence, length: number, mode: NonNullable<Job['mode']>): boolean
  /** Cost of a predicted or refined row divided by the cost of an exact one. */
  readonly rowCost: Readonly<Record<'predicted' | 'refined', number>>
  runs(sequence: Sequence, ids: readonly number[], outputs: 'none' | 'last'): Run[]
}

/** What a pass does for one request. */
export interface PlannedShare {
  readonly task: Task
  /** `prompt`: the next tokens of a prompt, or of an answer that is read again; `refine`: the first inexact tokens once more. */
  readonly kind: 'step' | 'prompt' | 'refine'
  readonly count: number
  /** Position of its first token. */
  readonly from: number
  /** Which of the pass's outputs belongs to it; undefined if none does. */
  readonly row: number | undefined
}

export interface PassPlan {
  /** In the order in which they are served. */
  readonly shares: readonly PlannedShare[]
  /** Undefined if there is nothing to run. */
  readonly pass: Pass | undefined
  /** What requests are told before the pass runs, in order. */
  readonly news: readonly News[]
  /** Requests that could not be planned, each with its own error. */
  readonly failures: readonly Failure[]
  readonly cachedTokens: number
  readonly preemptions: number
  /** Nothing can run before this: others than requests hold the pages, and give them back by themselves. */
  readonly blocked: Promise<void> | undefined
}

interface News {
  readonly task: Task
  tell(job: Job): void
}

interface Failure {
  readonly task: Task
  readonly error: ForetokenError
}

/** A share whose pages have not been taken. */
interface Wanted extends Share<Task> {
  readonly kind: PlannedShare['kind']
}

/** What a tenant may be ahead of another, in the largest passes: nobody stands back for longer. */
const debtPasses = 4

export class Planner {
  readonly #tasks: ReadonlySet<Task>
  readonly #cache: PagedCache
  readonly #prefixes: PrefixIndex
  readonly #policy: Policy
  readonly #cost: PassCost
  readonly #planning: Planning | undefined
  readonly #room: Room
  readonly #turns: Turns
  /** Of the plan being made. */
  #news: News[] = []
  #failures: Failure[] = []
  #cachedTokens = 0
  #preemptions = 0
  #blocked: Promise<void> | undefined
  /**
   * New prompts that were turned down for want of pages, the first of each tenant. None of its tenant is let in before it; and none at
   * all, if its tenant holds no pages: one that holds some waits for its own requests to end.
   */
  readonly #turnedDown = new Map<string, Task>()
  #closed = false
  /** Requests that could not have more rows than they got, for want of pages or of a place. */
  readonly #held = new Set<Task>()

  /** `tasks` are the scheduler's own; `places` of them hold pages at once. */
  constructor(
    tasks: ReadonlySet<Task>,
    { cache, prefixes }: { readonly cache: PagedCache; readonly prefixes: PrefixIndex },
    { policy, places }: { readonly policy: Policy; readonly places: number },
    cost: PassCost,
    planning: Planning | undefined,
  ) {
    this.#tasks = tasks
    this.#cache = cache
    this.#prefixes = prefixes
    this.#policy = policy
    this.#cost = cost
    this.#planning = planning
    this.#turns = new Turns(debtPasses * policy.budget)
    this.#room = new Room(tasks, cache, places, (task) => this.#preempt(task))
  }

  plan(): PassPlan {
    const tenants = new Set<string>()
    for (const { tenant } of this.#tasks) tenants.add(tenant)
    this.#turns.enter(tenants)
    this.#room.open(tenants)
    this.#news = []
    this.#failures = []
    this.#cachedTokens = 0
    this.#preemptions = 0
    this.#blocked = undefined
    this.#turnedDown.clear()
    this.#closed = false
    this.#held.clear()
    const wanted = this.#wanted()
    if (wanted.length === 0 && this.#failures.length === 0 && this.#tasks.size > 0) this.#unblock()
    const waiting = this.#waiting(wanted)
    const { shares, pass } = this.#take(wanted)
    this.#turns.settle(waiting)
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
    const standings = this.#turns.of
    const streams = streamsInOrder(tasks, standings)
    const steps = this.#steps(streams.slice(0, budget - reservedRows(tasks, this.#policy)))
    const growing = new Set(steps.map(({ candidate }) => candidate))
    const admit = (task: Task, limit: number) => this.#admit(task, limit, growing)
    const prompts = promptShares(tasks, steps.length, this.#policy, this.#cost, admit, this.#turns)
    if (prompts.length > 0) {
      // Whoever was let in may have taken the pages of those who had their share before.
      const shares = [...steps, ...prompts.map((share) => ({ ...share, kind: 'prompt' as const }))]
      const staying = shares.filter(({ candidate }) => this.#room.promised(candidate))
      const rows = staying.reduce((sum, { count }) => sum + count, 0)
      return [...this.#refined(rows, (task) => task.doubted), ...staying]
    }
    const all = this.#steps(streams.slice(0, budget))
    return [...this.#refined(all.length, () => true), ...all]
  }

  /** Tenants that could have used more rows of this pass. */
  #waiting(wanted: readonly Wanted[]): Set<string> {
    const counts = new Map<Task, number>()
    for (const { candidate, kind, count } of wanted) if (kind !== 'refine') counts.set(candidate, count)
    const waiting = new Set<string>()
    for (const task of this.#tasks) {
      const { tenant, doubted, streaming, pending } = task
      const wants = doubted && !streaming ? 0 : pending - (counts.get(task) ?? 0)
      if (wants > 0 && !this.#held.has(task)) waiting.add(tenant)
    }
    return waiting
  }

  #refined(taken: number, which: (task: Task) => boolean): Wanted[] {
    const tasks = [...this.#tasks].filter((task) => task.running && which(task))
    const rowCost = this.#planning?.rowCost.refined
    return refineShares(tasks, taken, this.#policy, this.#cost, rowCost, this.#turns.of).map((share) => ({
      ...share,
      kind: 'refine',
    }))
  }

  /** A decode step for each stream that gets its page. */
  #steps(streams: readonly Task[]): Wanted[] {
    this.#room.withdraw()
    const secured = streams.filter((task) => task.running && this.#room.step(task))
    // Securing pages may have taken those of a stream that was secured before it.
    return secured.filter(({ running }) => running).map((candidate) => ({ candidate, count: 1, kind: 'step' }))
  }

  /**
   * Whether a prompt gets its pages. Once a new one was turned down no new one is let in before it, so that small requests don't pass a
   * large one by for ever; those that hold pages go on, since they give them back. `growing` are the streams with a step.
   */
  #admit(task: Task, limit: number, growing: ReadonlySet<Task>): boolean {
    const admitted = task.running
      ? this.#room.more(task, Math.min(limit, task.pending))
      : !this.#closed &&
        !this.#turnedDown.has(task.tenant) &&
        this.#room.hasPlace(task) &&
        this.#begun(task, limit, growing)
    if (!admitted) this.#held.add(task)
    return admitted
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
    const { sequence, tokens, job, tenant } = task
    const asked = performance.now()
    sequence.adopt(this.#prefixes.match(tenant, tokens))
    const cached = sequence.length
    const known = performance.now()
    let streams = 0
    for (const { running } of growing) if (running) streams++
    if (!this.#room.enter(task, Math.min(limit, task.pending), streams)) {
      sequence.release()
      this.#turnedDown.set(tenant, task)
      this.#closed ||= !this.#room.holds(tenant)
      return false
    }
    if (!task.streaming) {
      const predicted = this.#planning?.begin(sequence, tokens.length, job.mode ?? 'exact') ?? false
      const total = tokens.length
      this.#tell(task, (told) => told.onAdmit?.(asked))
      this.#tell(task, (told) => told.onBegin?.(sequence, cached))
      this.#tell(task, (told) => told.onPrefill?.(cached, total, known))
      // What was predicted before its place was taken from it may be exact now.
      if (predicted || task.inexactTold) this.#tellCache(task, predicted ? 'predicted' : 'exact')
    }
    this.#cachedTokens += cached
    return true
  }

  /** Takes a request's pages, and lets later requests, itself among them, find what of them is exact. */
  #preempt(task: Task): void {
    this.#preemptions++
    try {
      task.keepIn(this.#prefixes)
    } catch (error) {
      this.#fail(task, error)
    }
    // A prompt that was let in by this very plan is as it was before: it has nothing to be told.
    if (!task.streaming) this.#news = this.#news.filter((news) => news.task !== task)
    // An answer that has begun is read again exactly.
    if (task.streaming && task.sequence.states) this.#tellCache(task, 'exact')
    task.doubted = false
    task.sequence.release()
  }

  #tell(task: Task, tell: (job: Job) => void): void {
    this.#news.push({ task, tell })
  }

  #tellCache(task: Task, kind: 'predicted' | 'exact'): void {
    this.#tell(task, (told) => {
      task.inexactTold = kind === 'predicted'
      told.onCache?.(kind)
    })
  }

  #fail(task: Task, error: unknown): void {
    this.#failures.push({ task, error: asForetokenError(error) })
    task.sequence.release()
  }

  /**
   * Nothing could run. Half-read prompts hold the pages that each of them needs: the last to come gives way. Or pages are held by
   * others than requests: by work that ends, which is waited for, or else whoever could not get what it needs fails.
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
    const stuck = victim ?? turnedDown ?? first!
    const { pagesInUse, maxPages, memoryEnded } = this.#cache
    const short = `${stuck.pending} more tokens do not fit beside ${pagesInUse} KV pages held by sessions and loaded prefixes`
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

  /** Takes the pages of all shares: who can't have them, since memory does not grow or the model refuses, fails alone. */
  #take(wanted: readonly Wanted[]): { shares: PlannedShare[]; pass: Pass | undefined } {
    const failed = new Set(this.#failures.map(({ task }) => task))
    const taken: { share: Wanted; from: number; runs: Run[]; segments: Segment[] }[] = []
    for (const share of wanted) {
      const { candidate: task, kind } = share
      if (failed.has(task)) continue
      try {
        const from = kind === 'refine' ? task.sequence.exact : task.sequence.length
        const runs = this.#runsOf(share, from)
        taken.push({ share, from, runs, segments: takePages(runs) })
      } catch (error) {
        failed.add(task)
        this.#fail(task, error)
      }
    }
    const left = taken.filter(({ share }) => !failed.has(share.candidate))
    if (left.length === 0) return { shares: [], pass: undefined }
    let rows = 0
    const shares = left.map(({ share: { candidate, kind, count }, from, runs }): PlannedShare => {
      this.#turns.charge(candidate.tenant, this.#workOf(runs))
      const row = runs.some(({ outputs }) => outputs !== 'none') ? rows++ : undefined
      return { task: candidate, kind, count, from, row }
    })
    const pass = layOut(
      left.flatMap(({ runs }) => runs),
      left.flatMap(({ segments }) => segments),
    )
    return { shares, pass }
  }

  /** In exact rows. */
  #workOf(runs: readonly Run[]): number {
    const { predicted = 1, refined = 1 } = this.#planning?.rowCost ?? {}
    const costs = { predicted, refined, exact: 1 }
    return runs.reduce((sum, { ids, kind = 'exact' }) => sum + ids.length * costs[kind], 0)
  }

  #runsOf({ candidate: task, count, kind }: Wanted, from: number): Run[] {
    const { sequence, tokens } = task
    const to = from + count
    const ids = tokens.slice(from, to)
    if (kind === 'refine') {
      const outputs = task.doubted && to === sequence.length ? 'last' : 'none'
      return [{ sequence, ids, outputs, kind: 'refined', from }]
    }
    const outputs = to === tokens.length ? 'last' : 'none'
    return this.#planning?.runs(sequence, ids, outputs) ?? [{ sequence, ids, outputs }]
  }
}
