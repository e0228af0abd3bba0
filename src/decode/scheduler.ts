/**
 * Many requests on one model: prompts in chunks and decode steps share passes (continuous batching).
 *
 * Nothing runs in the background. Whoever waits for a token drives: `drive` runs passes for all requests until its own is
 * served. A host that ends a request's work with the request (an edge isolate) so never stops others', and where
 * nobody reads, nothing is computed.
 */
import type { Scores } from '../backend/backend.ts'
import { asForetokenError, ForetokenError } from '../errors.ts'
import type { PagedCache, Sequence } from '../kv/paged.ts'
import type { PrefixIndex } from '../kv/prefix.ts'
import type { Llama } from '../model/llama.ts'
import { pack, type Run } from '../pack/pack.ts'
import { nextTurn } from '../turn.ts'
import { type Pass, pageTokens, type Segment } from '../types.ts'
import { PassCost } from './pass-cost.ts'
import { type Policy, promptShares, refineShares, reservedRows, type Share, streamsInOrder } from './policy.ts'
import { type Job, Task } from './task.ts'

/** How requests may be prefilled otherwise than exactly; `prefill/choice.ts` says. */
export interface Predicting {
  begin(sequence: Sequence, length: number, mode: NonNullable<Job['mode']>): boolean
  /** What a row costs by what an exact one does. */
  readonly rowCost: Readonly<Record<'predicted' | 'refined', number>>
  runs(sequence: Sequence, ids: readonly number[], outputs: 'none' | 'last'): Run[]
  doubts(scores: Scores): boolean
}

export interface SchedulerOptions extends Omit<Policy, 'budget'> {
  /** Requests that hold KV pages at once. */
  readonly maxRunning: number
  /** Requests that may wait beside them; one more is refused as `busy`. */
  readonly maxWaiting: number
}

/** What the scheduler needs of a model. */
export type PassModel = Pick<Llama, 'passTokens' | 'config' | 'forward'> &
  Partial<Pick<Llama, 'longestShortlist' | 'shortlists'>>

/** What has been done since the engine was loaded. */
export interface SchedulerStats {
  readonly passes: number
  readonly prefill_tokens: number
  readonly cached_tokens: number
  readonly decode_tokens: number
  /** Requests whose pages were taken from them, to be computed again. */
  readonly preemptions: number
  readonly running: number
  readonly waiting: number
  readonly pages_in_use: number
  readonly prefix_pages: number
}

/** A share of a pass; `refine`: not new tokens, but those from the first inexact one on. */
interface Piece extends Share<Task> {
  readonly refine?: boolean
}

export class Scheduler {
  readonly #model: PassModel
  readonly #cache: PagedCache
  readonly #prefixes: PrefixIndex
  readonly #options: SchedulerOptions
  readonly #policy: Policy
  readonly #predicting: Predicting | undefined
  readonly #cost = new PassCost()
  readonly #tasks = new Set<Task>()
  #added = 0
  #pass: Promise<void> | undefined
  /** Of the pass being planned: pages given away, requests running, and whether new ones are still let in. */
  #promised = 0
  #running = 0
  #open = true
  #inPass: ReadonlySet<Task> = new Set()
  readonly #count = { passes: 0, prefill_tokens: 0, cached_tokens: 0, decode_tokens: 0, preemptions: 0 }

  constructor(
    model: PassModel,
    cache: PagedCache,
    prefixes: PrefixIndex,
    options: SchedulerOptions,
    predicting?: Predicting,
  ) {
    this.#predicting = predicting
    this.#model = model
    this.#cache = cache
    this.#prefixes = prefixes
    this.#options = options
    this.#policy = { ...options, budget: model.passTokens }
  }

  get stats(): SchedulerStats {
    const running = this.#countRunning()
    return {
      ...this.#count,
      running,
      waiting: this.#tasks.size - running,
      pages_in_use: this.#cache.pagesInUse,
      prefix_pages: this.#prefixes.pages,
    }
  }

  /** Takes a request on. Throws `empty_prompt`, `bad_argument`, `context_exceeded`, `busy`. */
  add(job: Job): void {
    this.#check(job)
    const task = new Task(job, this.#added++, this.#cache.open(), this.#prefixes.known(job.tenant, job.ids))
    const { signal } = job
    if (signal) {
      const cancel = () => this.#cancel(task, signal)
      signal.addEventListener('abort', cancel, { once: true })
      task.unlisten = () => signal.removeEventListener('abort', cancel)
    }
    this.#tasks.add(task)
    if (signal?.aborted) this.#cancel(task, signal)
  }

  /** Runs passes until `served` is true. The host's event loop turns once before each pass, however many drive. */
  async drive(served: () => boolean): Promise<void> {
    while (!served()) {
      const { passes } = this.#count
      await nextTurn()
      if (served()) return
      if (this.#pass) await this.#pass
      else if (this.#count.passes === passes) {
        this.#pass = this.#run().finally(() => {
          this.#pass = undefined
        })
        await this.#pass
      }
    }
  }

  /** Ends every request as `aborted`. */
  close(): void {
    for (const task of [...this.#tasks]) this.#end(task, new ForetokenError('aborted', 'the engine was closed'))
  }

  #check({ ids }: Job): void {
    const { context } = this.#cache
    const { maxRunning, maxWaiting } = this.#options
    const { vocab } = this.#model.config
    if (ids.length === 0)
      throw new ForetokenError('empty_prompt', 'the prompt has no tokens; give it at least one character')
    const bad = ids.find((id) => !(Number.isInteger(id) && id >= 0 && id < vocab))
    if (bad !== undefined)
      throw new ForetokenError('bad_argument', `token id ${bad} is outside the vocabulary 0..${vocab - 1}`)
    if (ids.length > context)
      throw new ForetokenError(
        'context_exceeded',
        `the prompt has ${ids.length} tokens and the context ${context}; shorten it, or load with a larger context`,
      )
    if (this.#tasks.size >= maxRunning + maxWaiting) {
      const { maxPages, pagesInUse } = this.#cache
      throw new ForetokenError(
        'busy',
        `${this.#tasks.size} requests run or wait, and ${pagesInUse} of ${maxPages} KV pages are in use; ` +
          'try again when one has finished',
      )
    }
  }

  /** One pass, start to end. */
  async #run(): Promise<void> {
    const shares = this.#plan()
    this.#count.passes++
    if (shares.length === 0) return
    this.#inPass = new Set(shares.map(({ candidate }) => candidate))
    const begun = performance.now()
    try {
      const pass = pack(shares.flatMap((share) => this.#runsOf(share)))
      const scores = await this.#scores(pass, shares)
      this.#cost.learn(this.#exactRows(pass), performance.now() - begun)
      this.#inPass = new Set()
      this.#serve(shares, scores)
    } catch (error) {
      // The pass may have written some layers of these pages and not others: none of them can go on.
      const failed = asForetokenError(error)
      this.#inPass = new Set()
      for (const { candidate } of shares) this.#end(candidate, failed)
    }
  }

  /** Of the pass's outputs: shortlists, where the model has them and nobody reads more, or all logits. */
  async #scores(pass: Pass, shares: readonly Piece[]): Promise<Scores[]> {
    const model = this.#model
    const best = Math.max(...shares.map(({ candidate }) => candidate.best))
    if (model.longestShortlist && best <= Math.min(model.longestShortlist, model.config.vocab))
      return model.shortlists!(pass, best)
    const { vocab } = model.config
    const logits = await model.forward(pass, 'lent')
    return pass.outputs.map((_, row) => logits.subarray(row * vocab, (row + 1) * vocab))
  }

  /** How many exact rows would cost as much. */
  #exactRows({ ids, segments, predicted = 0, refined = 0 }: Pass): number {
    const rows = (some: readonly Segment[]) => some.reduce((sum, { length }) => sum + length, 0)
    const [front, back] = [rows(segments.slice(0, predicted)), refined === 0 ? 0 : rows(segments.slice(-refined))]
    const cost = this.#predicting?.rowCost ?? { predicted: 1, refined: 1 }
    return Math.max(1, Math.round(ids.length - front * (1 - cost.predicted) - back * (1 - cost.refined)))
  }

  #runsOf({ candidate: task, count, refine }: Piece): Run[] {
    const { sequence, tokens } = task
    if (refine) {
      const from = sequence.exact
      const outputs = task.doubted && from + count === sequence.length ? 'last' : 'none'
      return [{ sequence, ids: tokens.slice(from, from + count), outputs, kind: 'refined', from }]
    }
    const to = sequence.length + count
    const ids = tokens.slice(sequence.length, to)
    const outputs = to === tokens.length ? 'last' : 'none'
    return this.#predicting?.runs(sequence, ids, outputs) ?? [{ sequence, ids, outputs }]
  }

  #plan(): Piece[] {
    const tasks = [...this.#tasks]
    this.#running = this.#countRunning()
    this.#open = true
    const { budget } = this.#policy
    const streams = streamsInOrder(tasks)
    const steps = this.#steps(streams.slice(0, budget - reservedRows(tasks, this.#policy)))
    const prompts = promptShares(tasks, steps.length, this.#policy, this.#cost, (task, limit) =>
      this.#admit(task, limit, steps.length),
    )
    if (prompts.length > 0) {
      const rows = prompts.reduce((sum, { count }) => sum + count, steps.length)
      return [...this.#refined(rows, (task) => task.doubted), ...steps, ...prompts]
    }
    const all = this.#steps(streams.slice(0, budget))
    const refined = this.#refined(all.length, () => true)
    return all.length + refined.length === 0 && tasks.length > 0 ? this.#unblock(tasks) : [...refined, ...all]
  }

  #refined(taken: number, which: (task: Task) => boolean): Piece[] {
    const tasks = [...this.#tasks].filter((task) => task.running && which(task))
    return refineShares(tasks, taken, this.#policy, this.#cost, this.#predicting?.rowCost.refined)
  }

  /** A decode step for each stream that gets its page. */
  #steps(streams: readonly Task[]): Share<Task>[] {
    this.#promised = 0
    const secured = streams.filter((task) => task.running && this.#secure(task))
    // Securing pages may have taken those of a stream that was secured before it.
    return secured.filter(({ running }) => running).map((candidate) => ({ candidate, count: 1 }))
  }

  /** Pages for a stream's next token, at the cost of the prefix cache first and then of whoever came last. */
  #secure(task: Task): boolean {
    while (!this.#promise(task.sequence, 1)) {
      const victim = this.#latest(task)
      if (!victim || victim.number < task.number) return false
      this.#preempt(victim)
    }
    return true
  }

  /**
   * Whether a prompt gets its pages. A new one must fit whole beside what runs, with a page for each of `streams` to
   * grow. Once one was turned down no new one is let in before it, so that small requests don't pass a large one by
   * for ever; those that hold pages go on, since they give them back.
   */
  #admit(task: Task, limit: number, streams: number): boolean {
    if (task.running) return this.#promise(task.sequence, Math.min(limit, task.pending))
    this.#open &&= this.#running < this.#options.maxRunning && this.#begin(task, limit, streams)
    return this.#open
  }

  #begin(task: Task, limit: number, streams: number): boolean {
    const { sequence, tokens, job } = task
    if (!task.streaming) job.onAdmit?.()
    sequence.adopt(this.#prefixes.match(job.tenant, tokens))
    const cached = sequence.length
    const fits = this.#free(pagesFor(sequence, task.pending) + streams)
    if (!fits || !this.#promise(sequence, Math.min(limit, task.pending))) {
      sequence.release()
      return false
    }
    this.#running++
    this.#count.cached_tokens += cached
    if (!task.streaming) {
      job.onBegin?.(sequence)
      job.onPrefill?.(cached, tokens.length)
      if (this.#predicting?.begin(sequence, tokens.length, job.mode ?? 'exact')) job.onCache?.('predicted')
    }
    return true
  }

  #promise(sequence: Sequence, tokens: number): boolean {
    const pages = pagesFor(sequence, tokens)
    if (!this.#free(pages)) return false
    this.#promised += pages
    return true
  }

  /** Whether `pages` can be had beside those promised, prefixes being evicted and memory got for them. */
  #free(pages: number): boolean {
    return this.#cache.secure(this.#promised + pages)
  }

  /** Nothing could run: half-read prompts hold the pages that each of them needs. The last to come gives way. */
  #unblock(tasks: readonly Task[]): Share<Task>[] {
    const victim = this.#latest()
    const first = tasks.reduce((a, b) => (b.number < a.number ? b : a))
    if (victim && victim !== first) this.#preempt(victim)
    else
      this.#end(
        first,
        new ForetokenError(
          'out_of_pages',
          `${first.pending} more tokens do not fit beside ${this.#cache.pagesInUse} KV pages held by sessions and ` +
            `loaded prefixes, of ${this.#cache.maxPages}; release some, or load the engine with more kvTokens`,
        ),
      )
    return []
  }

  #countRunning(): number {
    let running = 0
    for (const task of this.#tasks) if (task.running) running++
    return running
  }

  #latest(but?: Task): Task | undefined {
    let latest: Task | undefined
    for (const task of this.#tasks)
      if (task !== but && task.running && (!latest || task.number > latest.number)) latest = task
    return latest
  }

  #preempt(task: Task): void {
    this.#keep(task)
    // An answer that has begun is read again exactly.
    if (task.streaming && task.sequence.states) task.job.onCache?.('exact')
    task.doubted = false
    task.sequence.release()
    this.#count.preemptions++
  }

  #serve(shares: readonly Piece[], outputs: readonly Scores[]): void {
    let row = 0
    for (const { candidate: task, count, refine } of shares) {
      task.lastPass = this.#count.passes
      if (refine) this.#settle(task, count, shares)
      const ready = refine ? task.doubted && !task.sequence.states : task.pending === 0
      if (ready && task.streaming && count === 1) this.#count.decode_tokens++
      else this.#count.prefill_tokens += count
      const scores = ready ? outputs[row++] : undefined
      if (task.failed) {
        this.#end(task, task.failed)
        continue
      }
      try {
        if (!task.streaming && !refine) {
          this.#keep(task)
          task.job.onPrefill?.(task.sequence.length, task.tokens.length)
        }
        if (scores) this.#take(task, scores)
      } catch (error) {
        this.#end(task, asForetokenError(error))
      }
    }
  }

  /** `count` more tokens of a cache are exact; a step in the same pass has read them, and is exact with the last of them. */
  #settle(task: Task, count: number, shares: readonly Piece[]): void {
    const { sequence } = task
    const step = shares.some((share) => share.candidate === task && !share.refine)
    const exact = sequence.exact + count + (step ? 1 : 0)
    sequence.settle(exact >= sequence.length ? exact : exact - (step ? 1 : 0))
    if (!sequence.states) task.job.onCache?.('exact')
  }

  #take(task: Task, scores: Scores): void {
    const { job, sequence } = task
    if (!task.streaming && job.mode === 'auto' && sequence.states && this.#predicting?.doubts(scores)) {
      task.doubted = true
      return
    }
    const id = job.take(scores)
    task.streaming = true
    if (id === undefined) this.#end(task)
    else task.tokens.push(id)
  }

  /** Lets later requests use what this one has computed exactly. */
  #keep({ job, tokens, sequence }: Task): void {
    this.#prefixes.insert(job.tenant, tokens.slice(0, sequence.exact), sequence.pages)
  }

  #cancel(task: Task, signal: AbortSignal): void {
    const error = new ForetokenError('aborted', 'the request was cancelled', { cause: signal.reason })
    if (this.#inPass.has(task)) task.failed = error
    else this.#end(task, error)
  }

  #end(task: Task, error?: ForetokenError): void {
    if (task.done) return
    task.done = true
    task.unlisten()
    if (!error) this.#keep(task)
    this.#tasks.delete(task)
    task.sequence.release()
    this.#prefixes.trim()
    task.job.end(error)
  }
}

/** Pages that `tokens` more take. */
function pagesFor(sequence: Sequence, tokens: number): number {
  return Math.ceil((sequence.length + tokens) / pageTokens) - sequence.pages.length
}
