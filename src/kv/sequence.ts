/** One sequence's tokens in the cache, and the pages that hold them. */

import { at, defined } from '../base/at.ts'
import { ForetokenError } from '../base/errors.ts'
import { pageTokens } from '../base/kv.ts'
import type { Segment, SequenceStates } from '../base/pass.ts'

/** The cache that a sequence takes its pages from: `PagedCache`. */
interface Pages {
  /** Most tokens of one sequence. */
  readonly context: number
  /** Most tokens of a sequence that is not long. */
  readonly shortContext: number
  /** Takes pages with one reference each, all or none. Throws `out_of_pages`, `out_of_memory`. */
  take(pages: number): number[]
  share(page: number): void
  drop(page: number): void
}

/** One sequence's tokens in the cache: its pages in order, and how many tokens they hold. */
export class Sequence {
  readonly #cache: Pages
  readonly #pages: number[] = []
  #length = 0
  #states: SequenceStates | undefined
  #exact = 0
  #long = false

  constructor(cache: Pages) {
    this.#cache = cache
  }

  /**
   * Prepares an empty sequence for `tokens`. More of them than `shortContext` make it `long`: its keys
   * are of no use to one that is not, so that it stays so until it is prepared again.
   */
  expect(tokens: number): void {
    if (this.#length > 0)
      throw new ForetokenError('internal', `a sequence of ${this.#length} tokens cannot be prepared for ${tokens}`)
    this.#long = tokens > this.#cache.shortContext
  }

  /** Whether it turns by the frequencies of long sequences. */
  get long(): boolean {
    return this.#long
  }

  /** Returns whether `tokens` are more than it may hold without becoming long. */
  outgrows(tokens: number): boolean {
    return !this.#long && tokens > this.#cache.shortContext
  }

  /** Number of tokens in the cache. */
  get length(): number {
    return this.#length
  }

  get pages(): readonly number[] {
    return this.#pages
  }

  /** The residual states of tokens with predicted K and V; undefined if the cache is exact. */
  get states(): SequenceStates | undefined {
    return this.#states
  }

  /** Number of tokens at the front whose K and V are exact. */
  get exact(): number {
    return this.#states ? Math.min(this.#exact, this.#length) : this.#length
  }

  /**
   * Allows predicted K and V for all tokens appended from now on, or from position `exact` on if more
   * than it holds will be exact.
   */
  predict(states: SequenceStates, exact = this.#length): void {
    this.#exact = exact
    this.#states = states
  }

  /**
   * Records that the first `tokens` have exact K and V now. Once all have, the states are released.
   */
  markExact(tokens: number): void {
    this.#exact = tokens
    if (tokens >= this.#length) this.#letGo()
  }

  /**
   * Replaces its own pages by the whole pages of `exact`, an exact sequence that begins with the
   * same tokens, so that only the tokens after them remain to be made exact. Does nothing if no K
   * and V are predicted. Throws `internal` if `exact` is not exact.
   */
  replace(exact: Sequence): void {
    if (!this.#states) return
    const whole = Math.floor(Math.min(exact.length, this.#length) / pageTokens)
    if (exact.states || whole > exact.pages.length)
      throw new ForetokenError('internal', `${exact.length} tokens that are not exact cannot replace others`)
    for (let page = Math.floor(this.#exact / pageTokens); page < whole; page++) {
      const replacement = at(exact.pages, page)
      this.#cache.share(replacement)
      this.#cache.drop(at(this.#pages, page))
      this.#pages[page] = replacement
    }
    this.markExact(Math.max(this.#exact, whole * pageTokens))
  }

  /**
   * Returns the segment of tokens `from` to `to` - 1, to recompute their K and V in place. Throws
   * `internal` for tokens that it does not hold.
   */
  again(from: number, to: number): Segment {
    if (from < 0 || to > this.#length || from >= to)
      throw new ForetokenError('internal', `cannot run tokens ${from}..${to} of ${this.#length} again`)
    const pages = this.#pages.slice(0, Math.ceil(to / pageTokens))
    return {
      start: 0,
      length: to - from,
      past: from,
      pages,
      states: this.#passStates,
      ...(this.#long && { long: true }),
    }
  }

  /**
   * Takes pages for `tokens` more, all or none, and returns their segment, which begins at row
   * `start` of a pass. Throws `context_exceeded` for more tokens than a sequence may have or than it
   * was prepared for, and `out_of_pages` or `out_of_memory` for more than fit now.
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
    if (this.outgrows(past + tokens))
      throw new ForetokenError(
        'context_exceeded',
        `${past + tokens} tokens take other factors of RoPE than up to ${this.#cache.shortContext}, with which it began; ` +
          'prefill all of them anew',
      )
    if (want > had) this.#pages.push(...this.#cache.take(want - had))
    this.#length = past + tokens
    const pages = this.#pages.slice(0, want)
    const states = this.#passStates
    return { start, length: tokens, past, pages, ...(states && { states }), ...(this.#long && { long: true }) }
  }

  /**
   * Takes the pages of `tokens` more now, all or none, so that `extend` finds them. Tokens beyond
   * the context are left to `extend` to refuse. Throws as `PagedCache.take`.
   */
  reserve(tokens: number): void {
    const want = Math.ceil(Math.min(this.#length + tokens, this.#cache.context) / pageTokens)
    if (want > this.#pages.length) this.#pages.push(...this.#cache.take(want - this.#pages.length))
  }

  /**
   * Starts an empty sequence with whole pages that are already in use: a cached prefix. These pages
   * are never written again.
   */
  adopt(pages: readonly number[]): void {
    if (this.#length > 0)
      throw new ForetokenError('internal', `a sequence of ${this.#length} tokens cannot adopt pages`)
    for (const page of pages) {
      this.#cache.share(page)
      this.#pages.push(page)
    }
    this.#length = pages.length * pageTokens
  }

  /** Drops all tokens from `length` on, and frees their pages. */
  truncate(length: number): void {
    if (length < 0 || length > this.#length)
      throw new ForetokenError('internal', `cannot truncate ${this.#length} tokens to ${length}`)
    this.#length = length
    const keep = Math.ceil(length / pageTokens)
    while (this.#pages.length > keep) this.#cache.drop(defined(this.#pages.pop()))
    // States can't be cut: a prediction that failed halfway starts over.
    if (length === 0) this.#letGo()
  }

  /** Drops all tokens from `length` on, at least one token being left. Those that stay are exact. */
  cut(length: number): void {
    this.truncate(length)
    this.markExact(length)
  }

  /** The states that its segments have. */
  get #passStates(): SequenceStates | undefined {
    return this.#states?.placed ? undefined : this.#states
  }

  #letGo(): void {
    const states = this.#states
    this.#states = undefined
    states?.onRelease?.()
  }

  /** Frees all pages. May be called more than once. */
  release(): void {
    this.truncate(0)
  }
}
