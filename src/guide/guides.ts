/**
 * Compiles guides for one model, and keeps those that were used last. An instance that traps is
 * replaced; answers that it guided go on in the new one from the tokens that they have.
 */
import { functionOf } from '../base/checks.ts'
import type { ForetokenError } from '../base/errors.ts'
import type { Guide } from '../base/guide.ts'
import type { GuideMatcher, GuideModel, Guides, OpenGuides } from '../decode/guide.ts'
import { guideFailure, isTrap, startFailure, trapped } from './failure.ts'
import { type Grammar, grammarOf } from './grammar.ts'
import type { GuideInstance, InstanceGrammar, InstanceMatcher, InstanceVocabulary } from './instance.ts'
import { AnswerMatcher, type MatcherHost } from './matcher.ts'
import { TokenTable } from './vocabulary.ts'

/**
 * Makes the guides of an engine from a way to make instances of the grammar engine, for
 * `EngineOptions.guides`:
 *
 *     guides: async () => openGuides(() => instantiate(module))
 *
 * with `instantiate` of `foretoken/wasm/guide/guide.js` and `guide.wasm`, compiled. It is called
 * again if an instance traps.
 */
export function openGuides(make: () => GuideInstance): OpenGuides {
  functionOf('make', make)
  return (model) => new CompiledGuides(make, model)
}

/** Most grammars to keep, and characters of all of them. */
const mostGrammars = 32
const mostText = 1 << 20
/** Most grammars to remember that made an instance trap. */
const mostRefused = 64

interface Running {
  readonly vocabulary: InstanceVocabulary
  /** Compiled grammars by key, the one used last at the end. */
  readonly grammars: Map<string, InstanceGrammar>
  text: number
  /**
   * What follows each answer in this instance. Answers hold nothing of it themselves, so that a
   * dropped instance is garbage while they live.
   */
  readonly matchers: WeakMap<AnswerMatcher, InstanceMatcher>
}

/** The grammars of one model. */
class CompiledGuides implements Guides, MatcherHost {
  readonly #make: () => GuideInstance
  readonly #table: TokenTable
  readonly #refused = new Set<string>()
  #running: Running | undefined
  /** Number of instances that were dropped. */
  #drops = 0

  constructor(make: () => GuideInstance, model: GuideModel) {
    this.#make = make
    this.#table = new TokenTable(model)
    this.#start()
  }

  compile(guide: Guide): void {
    this.#compiled(grammarOf(guide))
  }

  matcher(guide: Guide): GuideMatcher {
    const grammar = grammarOf(guide)
    this.#compiled(grammar)
    return new AnswerMatcher(this, grammar)
  }

  current(answer: AnswerMatcher): InstanceMatcher | undefined {
    return this.#running?.matchers.get(answer)
  }

  begin(answer: AnswerMatcher, grammar: Grammar): InstanceMatcher {
    return this.attempt(grammar, () => {
      const matcher = this.#compiled(grammar).matcher()
      this.#running?.matchers.set(answer, matcher)
      return matcher
    })
  }

  end(answer: AnswerMatcher): void {
    const matcher = this.current(answer)
    this.#running?.matchers.delete(answer)
    matcher?.free()
  }

  /** A grammar whose answers trap twice is refused from then on. */
  attempt<T>(grammar: Grammar, work: () => T): T {
    const drops = this.#drops
    try {
      return work()
    } catch (error) {
      if (!isTrap(error)) throw guideFailure(grammar.named, error)
      if (this.#drops === drops) this.#drop()
    }
    try {
      return work()
    } catch (error) {
      if (!isTrap(error)) throw guideFailure(grammar.named, error)
      throw this.#blamed(grammar, error)
    }
  }

  #compiled(grammar: Grammar): InstanceGrammar {
    const { key, named, kind, text, compact } = grammar
    const known = this.#running?.grammars.get(key)
    if (known && this.#running) {
      this.#running.grammars.delete(key)
      this.#running.grammars.set(key, known)
      return known
    }
    if (this.#refused.has(key)) throw trapped(named, undefined)
    const running = this.#running ?? this.#start()
    try {
      const compiled = running.vocabulary.compile(kind, text, { compact })
      running.grammars.set(key, compiled)
      running.text += key.length
      trim(running)
      return compiled
    } catch (error) {
      // A compile that traps would trap again.
      throw isTrap(error) ? this.#blamed(grammar, error) : guideFailure(named, error)
    }
  }

  get words(): number {
    return this.#table.words
  }

  /** Throws what no grammar is refused for. */
  #start(): Running {
    try {
      const vocabulary = this.#table.build(this.#make())
      this.#running = { vocabulary, grammars: new Map(), text: 0, matchers: new WeakMap() }
      return this.#running
    } catch (error) {
      throw startFailure(error)
    }
  }

  /** Forgets an instance that trapped, with all of its objects. */
  #drop(): void {
    this.#drops++
    this.#running = undefined
  }

  /** Drops the instance, and refuses the grammar that made it trap from then on. */
  #blamed({ key, named }: Grammar, error: unknown): ForetokenError {
    this.#drop()
    if (this.#refused.size >= mostRefused) this.#refused.clear()
    this.#refused.add(key)
    return trapped(named, error)
  }
}

/** Drops the grammars that were used longest ago. Matchers live on without them. */
function trim(running: Running): void {
  const { grammars } = running
  for (const [key, grammar] of grammars) {
    if (grammars.size <= 1 || (grammars.size <= mostGrammars && running.text <= mostText)) return
    grammars.delete(key)
    running.text -= key.length
    grammar.free()
  }
}
