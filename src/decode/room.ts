/**
 * Pages and places of the pass that is being planned: who gets them, and who gives way.
 *
 * Among requests of one tenant the last to come gives way to those before it. A tenant that holds more than its share gives way to one
 * that holds less: shares are equal, and what a tenant leaves unused is anybody's until it is asked for.
 */

import { pageTokens } from '../base/kv.ts'
import type { PagedCache, Sequence } from '../kv/paged.ts'
import type { Task } from './task.ts'

/**
 * Tokens that a request answers, at least, between two times that it gives way to another tenant: each time costs it a reading of
 * its cache, and so that it gets to its end.
 */
const leastProgress = 32

/** What a tenant's requests hold. A page that several of them share counts for each. */
interface Holding {
  running: number
  pages: number
}

export class Room {
  readonly #tasks: ReadonlySet<Task>
  readonly #cache: PagedCache
  readonly #places: number
  readonly #onPreempt: (task: Task) => void
  /** Pages that requests were promised in this plan, and how many in all. */
  readonly #promises = new Map<Task, number>()
  #promised = 0
  #running = 0
  #tenants: ReadonlySet<string> = new Set()

  /** `places` requests hold pages at once. `onPreempt` releases the pages of a request that gives way. */
  constructor(tasks: ReadonlySet<Task>, cache: PagedCache, places: number, onPreempt: (task: Task) => void) {
    this.#tasks = tasks
    this.#cache = cache
    this.#places = places
    this.#onPreempt = onPreempt
  }

  /** Begins a plan for requests of `tenants`. */
  open(tenants: ReadonlySet<string>): void {
    this.#tenants = tenants
    this.#running = 0
    for (const task of this.#tasks) if (task.running) this.#running++
    this.withdraw()
  }

  /** Takes all promises back. */
  withdraw(): void {
    this.#promises.clear()
    this.#promised = 0
  }

  /** Whether a request still has what it was promised in this plan. */
  promised(task: Task): boolean {
    return this.#promises.has(task)
  }

  /** Promises a stream the page of its next token, at the cost of cached prefixes first and then of whoever gives way to it. */
  step(task: Task): boolean {
    while (!this.#promise(task, 1)) {
      const victim = this.#beyondShare(task, 1) ?? this.#later(task)
      if (!victim) return false
      this.preempt(victim, task)
    }
    return true
  }

  /** Promises a half-read prompt the pages of its next `tokens`, at the cost of cached prefixes and of tenants beyond their share. */
  more(task: Task, tokens: number): boolean {
    return this.#fit(task, tokens, 0) && this.#promise(task, tokens)
  }

  /** Whether requests of a tenant hold pages. */
  holds(tenant: string): boolean {
    for (const task of this.#tasks) if (task.running && task.tenant === tenant) return true
    return false
  }

  /** Whether there is a place for a new prompt, or somebody who would give one up. */
  hasPlace(task: Task): boolean {
    return this.#running < this.#places || this.#beyondPlaces(task) !== undefined
  }

  /**
   * Gives a place to a new prompt whose sequence has adopted what the prefix cache held: it must fit whole, with a page for each of
   * `streams` to grow, and is promised the pages of its first `tokens`.
   */
  enter(task: Task, tokens: number, streams: number): boolean {
    if (!this.#fit(task, task.pending, streams) || !this.#makePlace(task) || !this.#promise(task, tokens)) return false
    this.#running++
    return true
  }

  /** Takes a request's pages: it is read again later. `heir` is who needs them; undefined where nobody could go on. */
  preempt(task: Task, heir?: Task): void {
    if (heir && heir.tenant !== task.tenant) {
      task.yieldedAt = task.tokens.length
      // What it has computed is kept for it: it does not wait as if it had to be computed again.
      task.cachedHint = task.sequence.exact
    }
    this.#promised -= this.#promises.get(task) ?? 0
    this.#promises.delete(task)
    this.#running--
    this.#onPreempt(task)
  }

  /** Of the requests that hold pages the last that came. */
  latest(): Task | undefined {
    return this.#latestOf((task) => task.running)
  }

  #makePlace(task: Task): boolean {
    if (this.#running < this.#places) return true
    const victim = this.#beyondPlaces(task)
    if (victim) this.preempt(victim, task)
    return victim !== undefined
  }

  /** Makes room for `tokens` more, and for `spare` pages. */
  #fit(task: Task, tokens: number, spare: number): boolean {
    const pages = pagesFor(task.sequence, tokens)
    while (!this.#free(pages + spare)) {
      const victim = this.#beyondShare(task, pages)
      if (!victim) return false
      this.preempt(victim, task)
    }
    return true
  }

  #promise(task: Task, tokens: number): boolean {
    const pages = pagesFor(task.sequence, tokens)
    if (!this.#free(pages)) return false
    this.#promises.set(task, (this.#promises.get(task) ?? 0) + pages)
    this.#promised += pages
    return true
  }

  /** Whether `pages` can be had beside those promised, prefixes being evicted and memory got for them. */
  #free(pages: number): boolean {
    return this.#cache.secure(this.#promised + pages)
  }

  /** Who gives pages to a tenant that stays within its share with them: the last of those that hold most beyond theirs. */
  #beyondShare(heir: Task, pages: number): Task | undefined {
    if (this.#tenants.size < 2) return undefined
    const share = this.#cache.maxPages / this.#tenants.size
    const holdings = this.#holdings()
    const held = (task: Task) => holdings.get(task.tenant)?.pages ?? 0
    if (held(heir) + pages > share) return undefined
    return this.#latestOf((task) => mayYield(task, heir) && held(task) > share, held)
  }

  /** Who gives a place to a tenant that holds fewer with it: the last of those that hold most. */
  #beyondPlaces(heir: Task): Task | undefined {
    if (this.#tenants.size < 2) return undefined
    const holdings = this.#holdings()
    const held = (task: Task) => holdings.get(task.tenant)?.running ?? 0
    const least = held(heir) + 1
    return this.#latestOf((task) => mayYield(task, heir) && held(task) > least, held)
  }

  /** The last of those that came behind a stream, and that its tenant may take pages from: its own, and tenants beyond their share. */
  #later(stream: Task): Task | undefined {
    const behind = (task: Task) => task.running && task.number > stream.number
    if (this.#tenants.size < 2) return this.#latestOf(behind)
    const share = this.#cache.maxPages / this.#tenants.size
    const holdings = this.#holdings()
    return this.#latestOf(
      (task) => behind(task) && (task.tenant === stream.tenant || (holdings.get(task.tenant)?.pages ?? 0) > share),
    )
  }

  #holdings(): Map<string, Holding> {
    const holdings = new Map<string, Holding>()
    for (const { tenant, running, sequence } of this.#tasks) {
      if (!running) continue
      const holding = holdings.get(tenant) ?? { running: 0, pages: 0 }
      holding.running++
      holding.pages += sequence.pages.length
      holdings.set(tenant, holding)
    }
    return holdings
  }

  /** The last to come of those with the highest `rank`. */
  #latestOf(which: (task: Task) => boolean, rank: (task: Task) => number = () => 0): Task | undefined {
    let latest: Task | undefined
    for (const task of this.#tasks) {
      if (!which(task)) continue
      const higher = latest ? rank(task) - rank(latest) || task.number - latest.number : 1
      if (higher > 0) latest = task
    }
    return latest
  }
}

function mayYield(task: Task, heir: Task): boolean {
  return task.running && task.tenant !== heir.tenant && task.tokens.length - task.yieldedAt >= leastProgress
}

/** Pages that `tokens` more take. */
function pagesFor(sequence: Sequence, tokens: number): number {
  return Math.ceil((sequence.length + tokens) / pageTokens) - sequence.pages.length
}
