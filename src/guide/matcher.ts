/** Follows one answer in the grammar engine, across instances. */
import type { GuideMatcher } from '../decode/guide.ts'
import type { Grammar } from './grammar.ts'
import type { InstanceMatcher } from './instance.ts'

/** What a matcher needs of the guides that made it. */
export interface MatcherHost {
  /** Number of words of a mask. */
  readonly words: number
  /** Returns what follows the answer in the current instance; undefined if nothing does. */
  current(answer: AnswerMatcher): InstanceMatcher | undefined
  /** Begins to follow the answer in the current instance, from its first token. */
  begin(answer: AnswerMatcher, grammar: Grammar): InstanceMatcher
  /** Frees what follows the answer in the current instance. */
  end(answer: AnswerMatcher): void
  /** Calls `work`, and once more in a new instance if it traps. Throws its failure, translated. */
  attempt<T>(answer: AnswerMatcher, grammar: Grammar, work: () => T): T
}

/** The state of one answer. */
export class AnswerMatcher implements GuideMatcher {
  readonly #guides: MatcherHost
  readonly #grammar: Grammar
  /** The tokens accepted so far, from which another instance can go on. */
  readonly #ids: number[] = []
  #stopped: boolean | undefined
  #ended = false

  constructor(guides: MatcherHost, grammar: Grammar) {
    this.#guides = guides
    this.#grammar = grammar
  }

  get stopped(): boolean {
    this.#stopped ??= this.#with((matcher) => matcher.isStopped())
    return this.#stopped
  }

  mask(into: Uint32Array): boolean {
    const { words } = this.#guides
    if (into.length === words) return this.#with((matcher) => matcher.mask(into))
    // The end token of a model without one is beyond its logits.
    const all = new Uint32Array(words)
    const any = this.#with((matcher) => matcher.mask(all))
    into.set(all.subarray(0, into.length))
    return any
  }

  accept(id: number): void {
    if (this.#ended) return
    this.#with((matcher) => matcher.commit(id))
    this.#ids.push(id)
    this.#stopped = undefined
  }

  forced(): readonly number[] {
    return this.#with((matcher) => Array.from(matcher.forced()))
  }

  end(): void {
    this.#ended = true
    this.#guides.end(this)
  }

  #with<T>(work: (matcher: InstanceMatcher) => T): T {
    return this.#guides.attempt(this, this.#grammar, () => work(this.#current()))
  }

  #current(): InstanceMatcher {
    const current = this.#guides.current(this)
    if (current) return current
    const matcher = this.#guides.begin(this, this.#grammar)
    for (const id of this.#ids) matcher.commit(id)
    return matcher
  }
}
