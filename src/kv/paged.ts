/**
 * Who holds which KV page. A page is shared by reference count, so that a prefix is shared without a copy.
 *
 * Whoever takes pages, room is made in one way: pages that are ready, then new ones of the pool, then those of whoever only keeps
 * pages for later, the prefix index. What is let go and not soon needed again goes back to the pool's memory.
 */
import { ForetokenError } from '../base/errors.ts'
import { type KvPool, pageTokens } from '../base/kv.ts'
import type { Segment, SequenceStates } from '../base/pass.ts'

/** Pages that the pool makes at a time. */
const growth = 4

/** Lets go of pages that are only kept for later: `all` of so many, or none if there are fewer; or `some`. Returns how many. */
export type MakeRoom = (pages: number, how: 'all' | 'some') => number

export class PagedCache {
  readonly pool: KvPool
  /** Tokens that one sequence may have. */
  readonly context: number
  /** Asked before a taker is refused: the prefix index. */
  makeRoom: MakeRoom = () => 0
  /** Pages up to which memory grows before anything is evicted; beyond them, what is only kept for later goes first. */
  growsTo = Number.POSITIVE_INFINITY
  /** Pages that were asked for, and pages there were when memory could hold no more. */
  readonly #most: number
  #held = Number.POSITIVE_INFINITY
  #memoryEnded: ForetokenError | undefined
  /** Pages of the pool that nobody holds, the last let go last. */
  readonly #ready: number[] = []
  /** Ready pages that are about to be taken. */
  #wanted = 0
  /** Holders that give their pages back by themselves. */
  #passing = 0
  /** Told when a page becomes free, and when a passing holder has done. */
  #onFree: (() => void)[] = []
  #closed: ForetokenError | undefined
  /** The last borrower's turn. */
  #borrowing: Promise<void> = Promise.resolve()
  /** Holders of each page that has any. */
  readonly #references = new Map<number, number>()

  /** At most `maxPages` pages are ever held at once, and at most `context` tokens by one sequence. */
  constructor(pool: KvPool, maxPages: number, context = maxPages * pageTokens) {
    this.pool = pool
    this.#most = maxPages
    this.context = context
  }

  /** Pages that can be held at once: as many as were asked for, or as memory turned out to hold. */
  get maxPages(): number {
    return Math.min(this.#most, this.#held)
  }

  /** Why the pool holds fewer pages than were asked for, while memory holds no more; else undefined. */
  get memoryEnded(): ForetokenError | undefined {
    return this.maxPages < this.#most ? this.#memoryEnded : undefined
  }

  /** Pages held by at least one sequence. */
  get pagesInUse(): number {
    return this.#references.size
  }

  /** Pages that can be taken now. */
  get pagesFree(): number {
    return this.maxPages - this.pagesInUse
  }

  /**
   * Makes sure that `pages` can be taken, and returns whether they can: memory is got for them, and prefixes are evicted for them. Where
   * it returns true, `take` succeeds for as many. Where even evicting all would not do, nothing is evicted.
   */
  secure(pages: number): boolean {
    this.#wanted = pages
    try {
      for (;;) {
        const short = pages - this.pagesFree
        if (short > 0 && this.makeRoom(short, 'all') < short) return false
        const missing = pages - this.#ready.length
        if (missing <= 0) return true
        const beyond = Math.min(missing, this.pagesInUse + pages - this.growsTo)
        if (beyond > 0 && this.makeRoom(beyond, 'some') > 0) continue
        // Where memory ends, fewer pages are free than it seemed: the loop asks for room once more.
        this.#grow(missing)
      }
    } finally {
      this.#wanted = 0
    }
  }

  /** An empty sequence. Throws what `close` was given. */
  open(): Sequence {
    if (this.#closed) throw this.#closed
    return new Sequence(this)
  }

  /** From now on nothing is opened, for this reason. What is open may be released. */
  close(reason: ForetokenError): void {
    this.#closed ??= reason
  }

  /**
   * Runs `use` with a sequence that is released afterwards, come what may. Borrowers take turns, since several that are half done could
   * each hold what another needs; so `use` may not borrow. The pages of `tokens` are taken before any is computed: throws as `take`.
   */
  borrow<T>(use: (sequence: Sequence) => Promise<T>, tokens: number): Promise<T> {
    const work = async () => {
      const sequence = this.open()
      try {
        sequence.reserve(tokens)
        return await use(sequence)
      } finally {
        sequence.release()
      }
    }
    const turn = this.#borrowing.then(() => this.passing(work))
    this.#borrowing = turn.then(
      () => {},
      () => {},
    )
    return turn
  }

  /** Runs work that holds pages for as long as it lasts, and that ends without anybody's help: who finds none left may wait for it. */
  async passing<T>(work: () => Promise<T>): Promise<T> {
    this.#passing++
    try {
      return await work()
    } finally {
      this.#passing--
      this.#tellFree()
    }
  }

  /** Resolves when pages become free that work under way holds in passing; undefined where there is no such work. */
  get coming(): Promise<void> | undefined {
    if (this.#passing === 0) return undefined
    return new Promise((resolve) => this.#onFree.push(resolve))
  }

  #tellFree(): void {
    for (const tell of this.#onFree.splice(0)) tell()
  }

  /** Some pages with one reference each, all or none. Throws `out_of_pages`, and `out_of_memory` where memory ended before. */
  take(pages = 1): number[] {
    if (!this.secure(pages)) throw this.#refusal()
    const taken = this.#ready.splice(this.#ready.length - pages).reverse()
    for (const page of taken) this.#references.set(page, 1)
    return taken
  }

  /** How many hold a page; 0 for a free one. */
  references(page: number): number {
    return this.#references.get(page) ?? 0
  }

  /** Adds a reference to a page in use. */
  share(page: number): void {
    this.#references.set(page, this.#count(page) + 1)
  }

  /** Drops a reference; the page is free when none is left. */
  drop(page: number): void {
    const left = this.#count(page) - 1
    if (left > 0) {
      this.#references.set(page, left)
      return
    }
    this.#references.delete(page)
    this.#ready.push(page)
    if (this.#references.size === 0) this.#held = Number.POSITIVE_INFINITY
    this.#shrink()
    this.#tellFree()
  }

  #count(page: number): number {
    const count = this.references(page)
    if (count === 0) throw new ForetokenError('internal', `KV page ${page} is not in use`)
    return count
  }

  /** More pages of the pool, at least as many as are asked for unless memory ends; no more than may be held. */
  #grow(pages: number): void {
    const have = this.pagesInUse + this.#ready.length
    try {
      this.#ready.push(...this.pool.add(Math.min(Math.max(pages, growth), this.#most - have)).reverse())
    } catch (error) {
      if (!(error instanceof ForetokenError && error.code === 'out_of_memory')) throw error
      this.#held = have
      this.#memoryEnded = error
    }
  }

  /** Gives back what is ready beyond an eighth of what is in use; down to half of that, so that it is not got again at once. */
  #shrink(): void {
    const inUse = this.pagesInUse
    if (this.#ready.length <= Math.max(this.#wanted, 2 * growth + inUse / 8)) return
    const kept = Math.max(this.#wanted, growth + Math.ceil(inUse / 16))
    this.pool.remove(this.#ready.splice(0, this.#ready.length - kept))
    // There may be memory again.
    this.#held = Number.POSITIVE_INFINITY
  }

  #refusal(): ForetokenError {
    const { maxPages } = this
    const all = `all ${maxPages} KV pages (${maxPages * pageTokens} tokens) are in use`
    if (this.memoryEnded)
      return new ForetokenError(
        'out_of_memory',
        `${all}, and memory holds no more of the ${this.#most} that were asked for; wait for a running request to finish`,
        { cause: this.memoryEnded },
      )
    return new ForetokenError(
      'out_of_pages',
      `${all}; wait for a running request to finish, or load the engine with more kvTokens`,
    )
  }
}

/** One sequence's tokens in the cache: its pages in order, and how many tokens they hold. */
export class Sequence {
  readonly #cache: PagedCache
  readonly #pages: number[] = []
  #length = 0
  #states: SequenceStates | undefined
  #exact = 0

  constructor(cache: PagedCache) {
    this.#cache = cache
  }

  /** Tokens in the cache. */
  get length(): number {
    return this.#length
  }

  get pages(): readonly number[] {
    return this.#pages
  }

  /** What is kept of tokens whose K and V are predicted; undefined for a cache that is exact. */
  get states(): SequenceStates | undefined {
    return this.#states
  }

  /** Tokens in front whose K and V are exact. */
  get exact(): number {
    return this.#states ? this.#exact : this.#length
  }

  /** From here on tokens may get predicted K and V. */
  predict(states: SequenceStates): void {
    this.#exact = this.#length
    this.#states = states
  }

  /** Says that the first `tokens` have exact K and V now; once all have, the states are let go. */
  settle(tokens: number): void {
    this.#exact = tokens
    if (tokens >= this.#length) this.#letGo()
  }

  /**
   * Takes the pages of `exact`, a sequence that begins with the same tokens and is exact, in place of its own: all whole ones, so that
   * only tokens behind them are left to be made exact. Where nothing was predicted, nothing changes.
   */
  replace(exact: Sequence): void {
    if (!this.#states) return
    const whole = Math.floor(Math.min(exact.length, this.#length) / pageTokens)
    if (exact.states || whole > exact.pages.length)
      throw new ForetokenError('internal', `${exact.length} tokens that are not exact cannot replace others`)
    for (let page = Math.floor(this.#exact / pageTokens); page < whole; page++) {
      this.#cache.share(exact.pages[page]!)
      this.#cache.drop(this.#pages[page]!)
      this.#pages[page] = exact.pages[page]!
    }
    this.settle(Math.max(this.#exact, whole * pageTokens))
  }

  /** Tokens `from`..`to` - 1 once more, to replace their K and V. */
  again(from: number, to: number): Segment {
    if (from < 0 || to > this.#length || from >= to)
      throw new ForetokenError('internal', `cannot run tokens ${from}..${to} of ${this.#length} again`)
    const pages = this.#pages.slice(0, Math.ceil(to / pageTokens))
    return { start: 0, length: to - from, past: from, pages, states: this.#states }
  }

  /**
   * Takes pages for `tokens` more and returns their segment, to be put at row `start` of a pass. All or nothing. Throws
   * `context_exceeded` for more than a sequence may have, `out_of_pages` for more than it can hold now.
   */
  extend(tokens: number, start: number): Segment {
    const past = this.#length
    const want = Math.ceil((past + tokens) / pageTokens)
    const had = this.#pages.length
    const { context } = this.#cache
    if (past + tokens > context)
      throw new ForetokenError(
        'context_exceeded',
        `${past + tokens} tokens exceed the context of ${context}; shorten them, or load with a larger context`,
      )
    if (want > had) this.#pages.push(...this.#cache.take(want - had))
    this.#length = past + tokens
    const pages = this.#pages.slice(0, want)
    return { start, length: tokens, past, pages, ...(this.#states && { states: this.#states }) }
  }

  /** Takes the pages of `tokens` more now, all or none, so that `extend` finds them. What exceeds the context is left to `extend` to refuse. */
  reserve(tokens: number): void {
    const want = Math.ceil(Math.min(this.#length + tokens, this.#cache.context) / pageTokens)
    if (want > this.#pages.length) this.#pages.push(...this.#cache.take(want - this.#pages.length))
  }

  /** Begins an empty sequence with whole pages that are in use already: a cached prefix. They are never written again. */
  adopt(pages: readonly number[]): void {
    if (this.#length > 0)
      throw new ForetokenError('internal', `a sequence of ${this.#length} tokens cannot adopt pages`)
    for (const page of pages) {
      this.#cache.share(page)
      this.#pages.push(page)
    }
    this.#length = pages.length * pageTokens
  }

  /** Forgets all tokens from `length` on, and frees their pages. */
  truncate(length: number): void {
    if (length < 0 || length > this.#length)
      throw new ForetokenError('internal', `cannot truncate ${this.#length} tokens to ${length}`)
    this.#length = length
    const keep = Math.ceil(length / pageTokens)
    while (this.#pages.length > keep) this.#cache.drop(this.#pages.pop()!)
    // States can't be cut: what fails in the middle of a prediction starts anew.
    if (length === 0) this.#letGo()
  }

  #letGo(): void {
    const states = this.#states
    this.#states = undefined
    states?.onRelease?.()
  }

  /** Frees all pages. May be called twice. */
  release(): void {
    this.truncate(0)
  }
}
