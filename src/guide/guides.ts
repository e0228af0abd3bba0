/**
 * Compiles guides for one model, and keeps those that were used last. An instance that traps is
 * replaced; answers that it guided go on in the new one from the tokens that they have.
 */
import { functionOf } from '../base/checks.ts'
import type { Guide } from '../base/guide.ts'
import type { GuideMatcher, GuideModel, Guides, OpenGuides } from '../decode/guide.ts'
import { guideFailure, isTrap, trapped } from './failure.ts'
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
}

/** The grammars of one model. */
class CompiledGuides implements Guides, MatcherHost {
  readonly #make: () => GuideInstance
  readonly #table: TokenTable
  readonly #refused = new Set<string>()
  #running: Running | undefined
  generation = 0

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

  begin(grammar: Grammar): InstanceMatcher {
    return this.attempt(grammar, () => this.#compiled(grammar).matcher())
  }

  /** A grammar that traps twice is refused from then on. */
  attempt<T>(grammar: Grammar, work: () => T): T {
    const { generation } = this
    try {
      return work()
    } catch (error) {
      if (!isTrap(error)) throw guideFailure(grammar.named, error)
      if (this.generation === generation) this.#drop()
    }
    try {
      return work()
    } catch (error) {
      if (!isTrap(error)) throw guideFailure(grammar.named, error)
      this.#drop()
      this.#refuse(grammar)
      throw trapped(grammar.named, error)
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
    return this.attempt(grammar, () => {
      const running = this.#running ?? this.#start()
      const compiled = running.vocabulary.compile(kind, text, { compact })
      running.grammars.set(key, compiled)
      running.text += key.length
      trim(running)
      return compiled
    })
  }

  get words(): number {
    return this.#table.words
  }

  /** Forgets an instance that trapped, with all of its objects. */
  #drop(): void {
    this.generation++
    this.#running = undefined
  }

  #start(): Running {
    const running = { vocabulary: this.#table.build(this.#make()), grammars: new Map(), text: 0 }
    this.#running = running
    return running
  }

  #refuse({ key }: Grammar): void {
    if (this.#refused.size >= mostRefused) this.#refused.clear()
    this.#refused.add(key)
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
