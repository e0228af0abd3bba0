/**
 * A scheduler on a fake model, with every page and every request accounted for;
 * `scheduler-model.ts` runs random commands on it. A violation of the rules is a fault, thrown by
 * the next `check`.
 */

import assert from 'node:assert/strict'
import { getEventListeners } from 'node:events'
import type { Scores } from '../../src/backend/backend.ts'
import { ForetokenError } from '../../src/base/errors.ts'
import { pageTokens } from '../../src/base/kv.ts'
import type { Pass } from '../../src/base/pass.ts'
import { type Predicting, Scheduler } from '../../src/decode/scheduler.ts'
import type { Cut, Job } from '../../src/decode/task.ts'
import { PagedCache } from '../../src/kv/paged.ts'
import { PrefixIndex } from '../../src/kv/prefix.ts'
import type { Sequence } from '../../src/kv/sequence.ts'
import { Prediction } from '../../src/predict/choice.ts'
import type { PredictorHeader } from '../../src/predict/header.ts'
import { FakeModel, fakeHidden, fakePool, fakeVocab, nextToken } from '../helpers/fake-model.ts'
import { turns } from '../helpers/scheduled.ts'
import type { Deed, Hook, Wish, WorldOptions } from './scheduler-script.ts'

export const worldContext = 112

/** Returns a text that several requests begin with. */
export function textOf(length: number, text: number): number[] {
  return Array.from({ length }, (_, i) => 1 + ((i * 7 + text * 13) % 60))
}

const plan = { kind: 'shared' as const, shared: 2, runs: [{ from: 4, to: 5 }], taps: [2, 1], sinks: 4, window: 8 }
const header = { layers: 7, hidden: fakeHidden, plan, gate: 0 } as unknown as PredictorHeader

class WatchedCache extends PagedCache {
  readonly sequences = new Set<Sequence>()

  override open(): Sequence {
    const sequence = super.open()
    this.sequences.add(sequence)
    return sequence
  }
}

class Unsure extends Prediction {
  override doubts(scores: Scores): boolean {
    return ('ids' in scores ? scores.ids[0]! : scores.indexOf(1)) % 3 === 0
  }
}

export class World {
  readonly cache: WatchedCache
  readonly prefixes: PrefixIndex
  readonly model: FakeModel
  readonly scheduler: Scheduler
  readonly requests: Request[] = []
  readonly #options: WorldOptions
  readonly #held: Sequence[] = []
  readonly #faults: unknown[] = []
  readonly #drives: Promise<void>[] = []
  /** Errors of failed passes, with the pages of their requests. */
  readonly #broken = new Map<unknown, ReadonlySet<number>>()
  /** Whether anything but requests in the scheduler has held pages. */
  everHeld = false
  closed = false

  constructor(options: WorldOptions, Made: typeof Scheduler = Scheduler) {
    const { pages, passTokens, prefixPages, ...rest } = options
    this.#options = options
    this.model = new FakeModel(passTokens, 20)
    this.cache = new WatchedCache(fakePool(), pages, worldContext)
    this.prefixes = new PrefixIndex(this.cache, prefixPages * this.cache.pool.pageBytes)
    const schedule = { chunk: 48, fullRows: 24, refineMs: 30, aging: 0.25, ...rest }
    const predicting: Predicting = new Unsure(header, this.model.config)
    this.scheduler = new Made(this.model, this.cache, this.prefixes, schedule, predicting)
    this.model.onPass = (pass) => this.#watch(pass)
  }

  /** Records a fault for the next `check`. */
  fault(error: unknown): void {
    this.#faults.push(error)
  }

  submit(wish: Wish): void {
    const { maxRunning, maxWaiting } = this.#options
    const bad = wish.ids.find((id) => id >= fakeVocab) !== undefined
    const open = this.requests.filter(({ ended, leaving }) => ended === 0 && !leaving).length
    const request = new Request(this, wish)
    // The call may end other requests, which may submit more, so the request is listed before it.
    this.requests.push(request)
    try {
      this.scheduler.add(request)
      assert.ok(wish.ids.length > 0 && !bad && wish.ids.length <= worldContext && !this.closed, 'what is bad was taken')
    } catch (error) {
      this.requests.splice(this.requests.indexOf(request), 1)
      if (!(error instanceof ForetokenError)) throw error
      const { code } = error
      if (this.closed) assert.equal(code, 'aborted')
      else if (wish.ids.length === 0) assert.equal(code, 'empty_prompt')
      else if (bad) assert.equal(code, 'bad_argument')
      else if (wish.ids.length > worldContext) assert.equal(code, 'context_exceeded')
      else {
        assert.equal(code, 'busy')
        assert.ok(open >= maxRunning + maxWaiting, `busy with ${open} requests`)
      }
    }
  }

  /** Performs an action; `by` is the request whose code does it. */
  do(deed: Deed, by?: Request): void {
    if (deed.kind === 'throw') throw new Error(`thrown by ${by?.number}`)
    if (deed.kind === 'cancel') this.requests[deed.which]?.cancel()
    else if (deed.kind === 'cancelSelf') by?.cancel()
    else if (deed.kind === 'submit') this.#submitPlain(deed.length, deed.tenant)
    else if (deed.kind === 'hold') this.#hold(deed.pages)
    else if (deed.kind === 'letGo') this.#held.shift()?.release()
    else if (deed.kind === 'evict') this.prefixes.evict(deed.pages)
    else if (deed.kind === 'insert') this.#insert(deed)
    else if (deed.kind === 'drive') this.#drives.push(this.scheduler.drive(() => this.idle))
    else {
      this.closed = true
      for (const request of this.requests) request.leaving ||= request.ended === 0
      this.#drives.push(Promise.resolve(this.scheduler.close()))
    }
  }

  get idle(): boolean {
    return this.requests.every(({ ended }) => ended > 0)
  }

  /** Lets some host turns pass without a reader: nothing is computed, and nothing is lost. */
  async stall(count: number): Promise<void> {
    const { passes } = this.scheduler.stats
    for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve))
    if (this.#drives.length === 0) assert.equal(this.scheduler.stats.passes, passes, 'a pass that nobody waits for')
  }

  /** Runs passes until `served`. */
  async drive(served: () => boolean): Promise<void> {
    await this.scheduler.drive(served)
  }

  /** Runs a pass and performs an action in the middle of it. */
  async midPass(deed: Deed): Promise<void> {
    this.model.onPass = (pass) => {
      this.#watch(pass)
      if (deed.kind !== 'throw') this.do(deed)
      else {
        const error = new Error('a thread died')
        this.#broken.set(error, new Set(pass.segments.flatMap(({ pages }) => pages)))
        throw error
      }
    }
    try {
      await this.drive(turns(1))
    } finally {
      this.model.onPass = (pass) => this.#watch(pass)
    }
  }

  /**
   * Throws the first fault after checking every page and every request. Called between two passes.
   */
  check(): void {
    if (this.#faults.length > 0) throw this.#faults[0]
    const holders = new Map<number, number>()
    const count = (page: number) => holders.set(page, (holders.get(page) ?? 0) + 1)
    const owners = new Map<Sequence, Request>()
    for (const request of this.requests) {
      if (request.ended === 0 && request.sequence) owners.set(request.sequence, request)
      for (const page of request.held) count(page)
      const listeners = getEventListeners(request.signal, 'abort').length
      assert.equal(listeners, request.ended > 0 || request.signal.aborted ? 0 : 1, 'listeners left on a signal')
    }
    for (const sequence of this.cache.sequences) {
      if (sequence.length === 0) continue
      assert.ok(owners.has(sequence) || this.#held.includes(sequence), `nobody owns ${sequence.pages.length} pages`)
      for (const page of sequence.pages) count(page)
    }
    let cached = 0
    for (let page = 0; page < this.cache.maxPages; page++) {
      const others = this.cache.references(page) - (holders.get(page) ?? 0)
      assert.ok(others === 0 || others === 1, `page ${page} has ${others} references that nobody holds`)
      cached += others
    }
    const { pages_in_use, prefix_pages, running, waiting } = this.scheduler.stats
    assert.equal(cached, prefix_pages, 'pages of prefixes')
    assert.ok(pages_in_use <= this.cache.maxPages)
    assert.equal(
      running + waiting,
      this.requests.filter(({ ended }) => ended === 0).length,
      'requests in the scheduler',
    )
    for (const request of this.requests) request.check()
  }

  /** Ends everything, and checks what is left. */
  async finish(): Promise<void> {
    let asked = 0
    await this.drive(() => this.idle || ++asked > 20_000)
    assert.ok(this.idle, 'requests that never end')
    await Promise.all(this.#drives)
    this.check()
    for (const sequence of this.#held.splice(0)) sequence.release()
    for (const request of this.requests) assert.equal(request.ended, 1, 'an end comes once')
    this.prefixes.clear()
    assert.equal(this.cache.pagesInUse, 0, 'pages are held at the end')
  }

  /** Returns true if a pass with these pages failed with `error`. */
  broke(error: unknown, pages: readonly number[]): boolean {
    const inPass = this.#broken.get(error)
    return inPass !== undefined && pages.some((page) => inPass.has(page))
  }

  /** Checks that every page written in a pass has one owner. */
  #watch({ segments, ids }: Pass): void {
    const rows = segments.reduce((sum, { length }) => sum + length, 0)
    assert.equal(rows, ids.length)
    for (const { past, length, pages } of segments)
      for (let at = Math.floor(past / pageTokens); at * pageTokens < past + length; at++)
        assert.equal(this.cache.references(pages[at]!), 1, `page ${pages[at]} is written while others hold it`)
    for (const request of this.requests) if (request.ended === 0) request.pages = [...(request.sequence?.pages ?? [])]
  }

  #submitPlain(length: number, tenant: string): void {
    // The limit stops chains of requests that submit requests.
    if (this.requests.length > 200) return
    const plain = { most: 3, forces: 0, checks: 'never', mode: 'exact', sends: false, scripts: [] } as const
    this.submit({ ids: textOf(length, length), tenant, ...plain })
  }

  #hold(pages: number): void {
    const sequence = this.cache.open()
    try {
      sequence.extend(pages * pageTokens, 0)
      this.#held.push(sequence)
      this.everHeld = true
    } catch (error) {
      assert.equal((error as ForetokenError).code, 'out_of_pages')
    }
  }

  /** Inserts K and V as if they had been received. */
  #insert({ text, pages, tenant }: { text: number; pages: number; tenant: string }): void {
    const ids = textOf(pages * pageTokens, text)
    const sequence = this.cache.open()
    try {
      this.prefixes.evict(pages - this.cache.pagesFree)
      sequence.extend(ids.length, 0)
      this.model.put(ids, sequence.pages)
      this.prefixes.insert(tenant, ids, sequence.pages)
    } catch (error) {
      assert.equal((error as ForetokenError).code, 'out_of_pages')
    } finally {
      sequence.release()
    }
  }
}

/**
 * A greedy request that ends at token 0 or after `most` tokens, and performs its scripted actions.
 */
export class Request implements Job {
  readonly ids: readonly number[]
  readonly tenant: string
  readonly mode: NonNullable<Job['mode']>
  readonly best: number
  readonly number: number
  readonly controller = new AbortController()
  readonly signal = this.controller.signal
  readonly answer: number[] = []
  sequence: Sequence | undefined
  /** Pages held when the last pass began. */
  pages: readonly number[] = []
  readonly held: number[] = []
  ended = 0
  /** Whether its end was requested. */
  leaving = false
  error: ForetokenError | undefined
  #complete = false
  /** Number of tokens of its answer that exact K and V give, or that were not chosen. */
  #checked = 0
  #departed = false
  readonly #forced = new Set<number>()
  #choices = 0
  #predicted = false
  #thrown: unknown
  readonly #world: World
  readonly #wish: Wish
  readonly #calls: Partial<Record<Hook, number>> = {}

  constructor(world: World, wish: Wish) {
    this.#world = world
    this.#wish = wish
    this.ids = wish.ids
    this.tenant = wish.tenant
    this.mode = wish.mode
    this.number = world.requests.length
    this.best = this.number % 3 === 0 ? Number.POSITIVE_INFINITY : 1
  }

  cancel(): void {
    this.leaving = true
    this.controller.abort(`reason ${this.number}`)
  }

  onAdmit(): void {
    this.#called('onAdmit')
  }

  onBegin(sequence: Sequence): void {
    this.sequence = sequence
    this.#called('onBegin')
  }

  onPrefill(done: number, total: number): void {
    if (total !== this.ids.length || done > total || !this.sequence) this.#world.fault(new Error('progress of another'))
    if (this.#wish.sends) this.#holdPages(done)
    this.#called('onPrefill')
  }

  onCache(kind: 'predicted' | 'exact'): void {
    this.#predicted = kind === 'predicted'
    this.#called('onCache')
  }

  chooseTokens(scores: Scores): readonly number[] | undefined {
    const id = 'ids' in scores ? scores.ids[0]! : scores.indexOf(1)
    if (this.#complete) this.#world.fault(new Error(`a token after the whole answer of ${this.number}`))
    this.#called('chooseTokens')
    const { most, forces } = this.#wish
    if (most > 0) {
      // After predicted K and V any token is possible.
      const expected = nextToken([...this.ids, ...this.answer])
      if (!this.#predicted && id !== expected)
        this.#world.fault(new Error(`request ${this.number} shows ${id}; alone it gets ${expected}`))
    }
    const ids = [id]
    if (++this.#choices % 3 === 1) for (let n = 0; n < forces; n++) ids.push(1 + ((id + 7 * n) % 60))
    for (const [nth, shown] of ids.entries()) {
      if (nth > 0) this.#forced.add(this.answer.length)
      if (!this.#show(shown)) return undefined
    }
    return ids
  }

  get checking(): boolean {
    return this.#wish.checks !== 'never' && (this.mode === 'refined' || this.mode === 'auto') && !this.#departed
  }

  checkToken(scores: Scores): Cut | undefined {
    this.#called('checkToken')
    const id = 'ids' in scores ? scores.ids[0]! : scores.indexOf(1)
    const index = this.#checked++
    const shown = this.answer[index]
    const expected = nextToken([...this.ids, ...this.answer.slice(0, index)])
    if (id !== expected) this.#world.fault(new Error(`request ${this.number} is checked by ${id}, not ${expected}`))
    if (!this.checking) this.#world.fault(new Error(`request ${this.number} is checked after it departed`))
    if (shown === undefined || shown === id || this.#forced.has(index)) return undefined
    this.#departed = true
    if (this.#wish.checks === 'reports') return undefined
    this.answer.length = index
    for (const forced of [...this.#forced]) if (forced >= index) this.#forced.delete(forced)
    this.#predicted = false
    return { kept: index, ids: this.#show(id) ? [id] : undefined }
  }

  /** Adds a token, and returns whether the answer goes on. */
  #show(id: number): boolean {
    const { most } = this.#wish
    if (most > 0) this.answer.push(id)
    this.#complete = id === 0 || this.answer.length >= most || this.ids.length + this.answer.length >= worldContext
    return !this.#complete
  }

  end(error?: ForetokenError): void {
    this.ended++
    this.error = error
    for (const page of this.held.splice(0)) this.#world.cache.drop(page)
    if (this.ended === 1) this.#called('end')
  }

  /** Checks that it ended as expected. */
  check(): void {
    if (this.ended === 0) return
    const { error } = this
    if (!error) {
      assert.ok(this.#complete, 'an end without an error comes with the whole answer')
      if (this.#wish.checks === 'corrects' && this.mode !== 'predicted' && this.#wish.most > 0)
        for (const [index, id] of this.answer.entries())
          if (!this.#forced.has(index)) assert.equal(id, nextToken([...this.ids, ...this.answer.slice(0, index)]))
      return
    }
    if (error.code === 'aborted') assert.ok(this.leaving, 'aborted by nobody')
    if (error.code === 'aborted' && error.cause) assert.equal(error.cause, `reason ${this.number}`)
    else if (error.code === 'aborted') assert.ok(this.#world.closed)
    else if (error.code === 'out_of_pages') assert.ok(this.#world.everHeld, 'pages were there')
    else if (error.code === 'busy') assert.equal(this.answer.length, 0, 'an answer that has begun is taken back')
    else if (this.#thrown) assert.equal(error.cause, this.#thrown, "another's error")
    else assert.ok(this.#world.broke(error.cause, this.pages), `request ${this.number} failed of ${error.message}`)
  }

  #holdPages(done: number): void {
    const whole = done === this.ids.length ? Math.ceil(done / pageTokens) : Math.floor(done / pageTokens)
    for (let at = this.held.length; at < whole; at++) {
      const page = this.sequence!.pages[at]!
      this.#world.cache.share(page)
      this.#world.everHeld = true
      this.held.push(page)
    }
  }

  #called(hook: Hook): void {
    if ((this.ended > 0 || this.leaving || this.#thrown) && hook !== 'end')
      this.#world.fault(new Error(`${hook} of ${this.number} after its end`))
    const nth = (this.#calls[hook] ?? 0) + 1
    this.#calls[hook] = nth
    for (const script of this.#wish.scripts) {
      if (script.hook !== hook || script.nth !== nth) continue
      try {
        this.#world.do(script.deed, this)
      } catch (error) {
        if (script.deed.kind !== 'throw') this.#world.fault(error)
        else {
          // An error of its end is not reported to anyone.
          if (hook !== 'end') this.#thrown ??= error
          throw error
        }
      }
    }
  }
}
