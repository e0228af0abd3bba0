/**
 * Assigns pages and places in the pass being planned, and decides which requests are preempted.
 *
 * Among requests of one tenant, the latest is preempted in favour of earlier ones. A tenant that
 * holds more than its share is preempted in favour of one that holds less. Shares are equal, and
 * what a tenant does not use is free for others until it asks for it.
 */

import { pageTokens } from '../base/kv.ts'
import type { PagedCache } from '../kv/paged.ts'
import type { Sequence } from '../kv/sequence.ts'
import type { Task } from './task.ts'

/**
 * Tokens that a request must generate between two preemptions by other tenants. Each preemption
 * costs it a re-read of its cache, so without this minimum it might never finish.
 */
const leastProgress = 32

/** What a tenant's requests hold. A page that several of them share counts once for each. */
interface Holding {
  running: number
  pages: number
}

/** Pages and places of one scheduler. */
export class Room {
  readonly #tasks: ReadonlySet<Task>
  readonly #cache: PagedCache
  readonly #places: number
  readonly #onPreempt: (task: Task) => void
  /** Pages promised to requests in this plan, and their total. */
  readonly #promises = new Map<Task, number>()
  #promised = 0
  #running = 0
  #tenants: ReadonlySet<string> = new Set()

  /** At most `places` requests hold pages at once. `onPreempt` must release the request's pages. */
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

  /** Withdraws all promises. */
  withdraw(): void {
    this.#promises.clear()
    this.#promised = 0
  }

  /** Returns whether a request still has its promise of this plan. */
  promised(task: Task): boolean {
    return this.#promises.has(task)
  }

  /**
   * Promises a stream the pages of its next `tokens`, which are several where they are forced or
   * recomputed. Evicts cached prefixes first, and then preempts.
   */
  step(task: Task, tokens = 1): boolean {
    while (!this.#promise(task, tokens)) {
      const victim = this.#beyondShare(task, pagesFor(task.sequence, tokens)) ?? this.#later(task)
      if (!victim) return false
      this.preempt(victim, task)
    }
    return true
  }

  /**
   * Promises a partly read prompt the pages of its next `tokens`. Evicts cached prefixes and
   * preempts tenants beyond their share.
   */
  more(task: Task, tokens: number): boolean {
    return this.#fit(task, tokens, 0) && this.#promise(task, tokens)
  }

  /** Returns whether any request of a tenant holds pages. */
  holds(tenant: string): boolean {
    for (const task of this.#tasks) if (task.running && task.tenant === tenant) return true
    return false
  }

  /** Returns whether a place is free for a new prompt, or can be freed by preemption. */
  hasPlace(task: Task): boolean {
    return this.#running < this.#places || this.#beyondPlaces(task) !== undefined
  }

  /**
   * Gives a place to a new prompt whose sequence has adopted its cached prefix. The whole prompt
   * must fit, with a page for each of `streams` to grow; the pages of its first `tokens` are
   * promised.
   */
  enter(task: Task, tokens: number, streams: number): boolean {
    if (!this.#fit(task, task.unread, streams) || !this.#makePlace(task) || !this.#promise(task, tokens)) return false
    this.#running++
    return true
  }

  /**
   * Releases a request's pages; it is recomputed later. `heir` is the request that needs them, or
   * undefined if no request could run.
   */
  preempt(task: Task, heir?: Task): void {
    if (heir && heir.tenant !== task.tenant) {
      task.yieldedAt = task.tokens.length
      // Its exact tokens stay in the prefix cache, so they do not count as work to be done.
      task.cachedHint = task.sequence.exact
    }
    this.#promised -= this.#promises.get(task) ?? 0
    this.#promises.delete(task)
    this.#running--
    this.#onPreempt(task)
  }

  /** Returns the latest of the requests that hold pages. */
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

  /** Secures `pages` beyond those promised, by growing memory and evicting prefixes. */
  #free(pages: number): boolean {
    return this.#cache.secure(this.#promised + pages)
  }

  /**
   * Returns the request to preempt for pages: the latest one of the tenants that hold most beyond
   * their share. Undefined if the heir's own tenant would exceed its share.
   */
  #beyondShare(heir: Task, pages: number): Task | undefined {
    if (this.#tenants.size < 2) return undefined
    const share = this.#cache.maxPages / this.#tenants.size
    const holdings = this.#holdings()
    const held = (task: Task) => holdings.get(task.tenant)?.pages ?? 0
    if (held(heir) + pages > share) return undefined
    return this.#latestOf((task) => mayYield(task, heir) && held(task) > share, held)
  }

  /**
   * Returns the request to preempt for a place: the latest one of the tenants that hold most, if
   * they would still hold more than the heir's.
   */
  #beyondPlaces(heir: Task): Task | undefined {
    if (this.#tenants.size < 2) return undefined
    const holdings = this.#holdings()
    const held = (task: Task) => holdings.get(task.tenant)?.running ?? 0
    const least = held(heir) + 1
    return this.#latestOf((task) => mayYield(task, heir) && held(task) > least, held)
  }

  /**
   * Returns the latest request that arrived after a stream and may be preempted for it: one of its
   * own tenant, or of a tenant beyond its share.
   */
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

  /** Returns the latest of the tasks with the highest `rank`. */
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

/** Returns how many more pages `tokens` more need. */
function pagesFor(sequence: Sequence, tokens: number): number {
  return Math.ceil((sequence.length + tokens) / pageTokens) - sequence.pages.length
}
