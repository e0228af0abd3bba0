/** Who holds which KV page. A page is shared by reference count, so that a prefix is shared without a copy. */
import { ForetokenError } from '../errors.ts'
import { type KvPool, pageTokens, type Segment, type SequenceStates } from '../types.ts'

/** Pages a pool grows by at a time: growth costs a call, not a copy. */
const growth = 4

export class PagedCache {
  readonly pool: KvPool
  readonly maxPages: number
  /** Tokens that one sequence may have. */
  readonly context: number
  #free: number[] = []
  #references: number[] = []

  /** At most `maxPages` pages are ever held at once, and at most `context` tokens by one sequence. */
  constructor(pool: KvPool, maxPages: number, context = maxPages * pageTokens) {
    this.pool = pool
    this.maxPages = maxPages
    this.context = context
  }

  /** Pages held by at least one sequence. */
  get pagesInUse(): number {
    return this.#references.length - this.#free.length
  }

  /** Pages that can be taken now. */
  get pagesFree(): number {
    return this.maxPages - this.pagesInUse
  }

  open(): Sequence {
    return new Sequence(this)
  }

  /** Runs `use` with a sequence that is released afterwards, come what may. */
  async borrow<T>(use: (sequence: Sequence) => Promise<T>): Promise<T> {
    const sequence = this.open()
    try {
      return await use(sequence)
    } finally {
      sequence.release()
    }
  }

  /** A page with one reference. Throws `out_of_pages`. */
  take(): number {
    const page = this.#free.pop() ?? this.#grow()
    this.#references[page] = 1
    return page
  }

  /** How many hold a page; 0 for a free one. */
  references(page: number): number {
    return this.#references[page] ?? 0
  }

  /** Adds a reference to a page in use. */
  share(page: number): void {
    this.#references[page] = this.#count(page) + 1
  }

  /** Drops a reference; the page is free when none is left. */
  drop(page: number): void {
    const left = this.#count(page) - 1
    this.#references[page] = left
    if (left === 0) this.#free.push(page)
  }

  #count(page: number): number {
    const count = this.#references[page] ?? 0
    if (count === 0) throw new ForetokenError('internal', `KV page ${page} is not in use`)
    return count
  }

  #grow(): number {
    const have = this.#references.length
    if (have >= this.maxPages)
      throw new ForetokenError(
        'out_of_pages',
        `all ${this.maxPages} KV pages (${this.maxPages * pageTokens} tokens) are in use; ` +
          'wait for a running request to finish, or load the engine with more kvTokens',
      )
    const want = Math.min(this.maxPages, have + growth)
    if (want > this.pool.pages) this.pool.grow(want)
    for (let page = want - 1; page > have; page--) {
      this.#references[page] = 0
      this.#free.push(page)
    }
    return have
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
    try {
      while (this.#pages.length < want) this.#pages.push(this.#cache.take())
    } catch (error) {
      while (this.#pages.length > had) this.#cache.drop(this.#pages.pop()!)
      throw error
    }
    this.#length = past + tokens
    const pages = this.#pages.slice(0, want)
    return { start, length: tokens, past, pages, ...(this.#states && { states: this.#states }) }
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
