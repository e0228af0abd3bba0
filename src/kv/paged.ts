/**
 * Tracks which sequences hold which KV page. Pages are reference counted, so that a prefix is
 * shared without a copy.
 *
 * Pages are always allocated in the same order: free pages that are ready, then new ones of the
 * pool, then those that are only kept for later, by the prefix index. Freed pages that are not
 * needed soon are returned to the pool's memory.
 */

import { ForetokenError } from '../base/errors.ts'
import { type KvPool, pageTokens } from '../base/kv.ts'
import { Sequence } from './sequence.ts'

/** Number of pages that the pool allocates at a time. */
const growth = 4

/**
 * Releases pages that are only kept for later, and returns how many: with `all` either `pages` or
 * none, with `some` up to `pages`.
 */
export type MakeRoom = (pages: number, how: 'all' | 'some') => number

/** The pages of one pool, with reference counts. */
export class PagedCache {
  readonly pool: KvPool
  /** Most tokens of one sequence. */
  readonly context: number
  /** Most tokens of a sequence that is not `long`, see `Sequence.expect`. */
  readonly shortContext: number
  /** Called before an allocation is refused. The prefix index sets it. */
  makeRoom: MakeRoom = () => 0
  /**
   * Number of pages up to which memory grows before anything is evicted; beyond it, pages that are
   * only kept for later are evicted first.
   */
  growsTo = Number.POSITIVE_INFINITY
  /** Requested number of pages, and the number at which memory ended. */
  readonly #requested: number
  #memoryHolds = Number.POSITIVE_INFINITY
  #memoryEnded: ForetokenError | undefined
  /** Pages of the pool without a holder, the most recently freed last. */
  readonly #ready: number[] = []
  /** Number of ready pages about to be taken. */
  #wanted = 0
  /** Number of running tasks that return their pages when they end. */
  #passing = 0
  /** Called when a page becomes free, and when such a task ends. */
  #onFree: (() => void)[] = []
  #closed: ForetokenError | undefined
  /** Settles when the last borrower has finished. */
  #borrowing: Promise<void> = Promise.resolve()
  /** Reference count of each page in use. */
  readonly #references = new Map<number, number>()

  /**
   * At most `maxPages` pages are in use at once, and at most `context` tokens in one sequence. Those of
   * more than `shortContext` are long.
   */
  constructor(
    pool: KvPool,
    maxPages: number,
    context = maxPages * pageTokens,
    shortContext = Number.POSITIVE_INFINITY,
  ) {
    this.pool = pool
    this.#requested = maxPages
    this.context = context
    this.shortContext = shortContext
  }

  /**
   * Number of pages that can be in use at once: as many as requested, or as memory turned out to
   * hold.
   */
  get maxPages(): number {
    return Math.min(this.#requested, this.#memoryHolds)
  }

  /**
   * The error that ended growth, while memory holds fewer pages than requested; otherwise
   * undefined.
   */
  get memoryEnded(): ForetokenError | undefined {
    return this.maxPages < this.#requested ? this.#memoryEnded : undefined
  }

  /** Number of pages that at least one sequence holds. */
  get pagesInUse(): number {
    return this.#references.size
  }

  /** Number of pages that can be taken now. */
  get pagesFree(): number {
    return this.maxPages - this.pagesInUse
  }

  /**
   * Ensures that `pages` can be taken, by growing memory and evicting prefixes, and returns whether
   * they can. If it returns true, `take` succeeds for as many. If evicting everything would not be
   * enough, nothing is evicted.
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
        // If memory ends here, fewer pages are free than it seemed, and the loop asks for room once
        // more.
        this.#grow(missing)
      }
    } finally {
      this.#wanted = 0
    }
  }

  /**
   * Opens an empty sequence for `tokens`, see `Sequence.expect`. Throws the reason given to `close`, if
   * it was called.
   */
  open(tokens = 0): Sequence {
    if (this.#closed) throw this.#closed
    const sequence = new Sequence(this)
    sequence.expect(tokens)
    return sequence
  }

  /** Makes `open` throw `reason` from now on. Open sequences may still be released. */
  close(reason: ForetokenError): void {
    this.#closed ??= reason
  }

  /**
   * Runs `use` with a sequence that is released afterwards in any case. Borrowers run one after the
   * other, since several that are half done could each hold what another needs; so `use` must not
   * borrow. The pages of `tokens` are taken before it runs: rejects as `take` throws.
   */
  borrow<T>(use: (sequence: Sequence) => Promise<T>, tokens: number): Promise<T> {
    const work = async () => {
      const sequence = this.open(tokens)
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

  /**
   * Runs `work`, which holds pages only while it runs and ends by itself, so that a request without
   * pages can wait for it.
   */
  async passing<T>(work: () => Promise<T>): Promise<T> {
    this.#passing++
    try {
      return await work()
    } finally {
      this.#passing--
      this.#notifyFree()
    }
  }

  /** Resolves when work started by `passing` frees pages; undefined if no such work is running. */
  get coming(): Promise<void> | undefined {
    if (this.#passing === 0) return undefined
    return new Promise((resolve) => this.#onFree.push(resolve))
  }

  #notifyFree(): void {
    for (const notify of this.#onFree.splice(0)) notify()
  }

  /**
   * Takes `pages` pages with one reference each, all or none. Throws `out_of_pages`, or
   * `out_of_memory` if memory ended before.
   */
  take(pages = 1): number[] {
    if (!this.secure(pages)) throw this.#refusal()
    const taken = this.#ready.splice(this.#ready.length - pages).reverse()
    for (const page of taken) this.#references.set(page, 1)
    return taken
  }

  /** Returns the reference count of a page; 0 for a free one. */
  references(page: number): number {
    return this.#references.get(page) ?? 0
  }

  /** Adds a reference to a page in use. */
  share(page: number): void {
    this.#references.set(page, this.#count(page) + 1)
  }

  /** Drops a reference. The page becomes free when none is left. */
  drop(page: number): void {
    const left = this.#count(page) - 1
    if (left > 0) {
      this.#references.set(page, left)
      return
    }
    this.#references.delete(page)
    this.#ready.push(page)
    if (this.#references.size === 0) this.#memoryHolds = Number.POSITIVE_INFINITY
    this.#shrink()
    this.#notifyFree()
  }

  #count(page: number): number {
    const count = this.references(page)
    if (count === 0) throw new ForetokenError('internal', `KV page ${page} is not in use`)
    return count
  }

  /**
   * Adds pages of the pool: at least `pages` unless memory ends, and no more than may be in use.
   */
  #grow(pages: number): void {
    const have = this.pagesInUse + this.#ready.length
    try {
      this.#ready.push(...this.pool.add(Math.min(Math.max(pages, growth), this.#requested - have)).reverse())
    } catch (error) {
      if (!(error instanceof ForetokenError && error.code === 'out_of_memory')) throw error
      this.#memoryHolds = have
      this.#memoryEnded = error
    }
  }

  /**
   * Returns ready pages to the pool if there are more than an eighth of those in use. Keeps half of
   * that, so that they are not allocated again at once.
   */
  #shrink(): void {
    const inUse = this.pagesInUse
    if (this.#ready.length <= Math.max(this.#wanted, 2 * growth + inUse / 8)) return
    const kept = Math.max(this.#wanted, growth + Math.ceil(inUse / 16))
    this.pool.remove(this.#ready.splice(0, this.#ready.length - kept))
    // Memory may be available again.
    this.#memoryHolds = Number.POSITIVE_INFINITY
  }

  #refusal(): ForetokenError {
    const { maxPages } = this
    const all = `all ${maxPages} KV pages (${maxPages * pageTokens} tokens) are in use`
    if (this.memoryEnded)
      return new ForetokenError(
        'out_of_memory',
        `${all}, and memory holds no more of the ${this.#requested} that were asked for; wait for a running request to finish`,
        { cause: this.memoryEnded },
      )
    return new ForetokenError(
      'out_of_pages',
      `${all}; wait for a running request to finish, or load the engine with more kvTokens`,
    )
  }
}
