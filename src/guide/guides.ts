/**
 * Compiles guides for one model, and keeps those that were used last. With a worker, what may take
 * long is compiled there. An instance that traps is replaced; answers that it guided go on in the new
 * one from the tokens that they have.
 */
import { ForetokenError } from '../base/errors.ts'
import type { Guide } from '../base/guide.ts'
import { NoWorker } from '../base/serial-worker.ts'
import type { GuideFor, GuideMatcher, GuideModel, Guides } from '../decode/guide.ts'
import { Cell, CellMemory, restored } from './cell.ts'
import { compileGrammar } from './compile.ts'
import { guideFailure, isTrap, startFailure, trapped } from './failure.ts'
import { type Grammar, grammarOf, isCheap } from './grammar.ts'
import { GrammarStore } from './grammar-store.ts'
import { GuideWorker, type GuideWorkers } from './guide-worker.ts'
import type { GuideInstance, InstanceGrammar, InstanceMatcher, SavedInstance } from './instance.ts'
import { AnswerMatcher, type MatcherHost } from './matcher.ts'
import { TokenTable, tokenizeOf, wordsOf } from './vocabulary.ts'

/** Makes the guides of a model; see `openGuides`. */
export function guidesOf(make: () => GuideInstance, model: GuideModel, workers?: GuideWorkers): Guides {
  return new CompiledGuides(make, model, workers)
}

/** Grammars to keep, in all and of one tenant, and characters of all of them. */
const kept = { grammars: 64, ofTenant: 32, text: 1 << 20 }
/** Most grammars to remember that made an instance trap. */
const mostRefused = 64

/** A compiled grammar. */
interface Compiled {
  readonly cell: Cell
  readonly grammar: InstanceGrammar
  /** What a grammar with an instance of its own holds; undefined in the instance that many share. */
  readonly own: Own | undefined
}

interface Own {
  /** Number of answers that it guides. */
  answers: number
  /** Whether it may guide further ones. */
  kept: boolean
  readonly giveBack: () => void
}

/** The grammars of one model. */
class CompiledGuides implements Guides, MatcherHost {
  readonly words: number
  readonly #make: () => GuideInstance
  readonly #model: GuideModel
  readonly #refused = new Set<string>()
  readonly #store = new GrammarStore<Compiled>(kept, (compiled) => this.#forget(compiled))
  readonly #memory = new CellMemory()
  /** The grammars that answers follow. */
  readonly #followed = new WeakMap<AnswerMatcher, Compiled>()
  #worker: GuideWorker | undefined
  #table: TokenTable | undefined
  /** The instance that small grammars share. */
  #shared: Cell | undefined
  #opening: Promise<void> | undefined
  /** Number of instances that were dropped. */
  #drops = 0

  constructor(make: () => GuideInstance, model: GuideModel, workers: GuideWorkers | undefined) {
    this.#make = make
    this.#model = model
    this.words = wordsOf(model)
    if (workers && model.spec) this.#worker = new GuideWorker(workers, model.spec, model.vocab)
    else this.#start()
  }

  isCompiled(guide: Guide, { tenant }: GuideFor = {}): boolean {
    return this.#atOnce(grammarOf(guide, tenant))
  }

  compile(guide: Guide, { tenant, signal }: GuideFor = {}): Promise<void> | undefined {
    const grammar = grammarOf(guide, tenant)
    if (!this.#atOnce(grammar)) return this.#compileElsewhere(grammar, signal)
    this.#compiled(grammar)
    return undefined
  }

  matcher(guide: Guide, { tenant }: GuideFor = {}): GuideMatcher {
    const grammar = grammarOf(guide, tenant)
    const compiled = this.#compiled(grammar)
    const answer = new AnswerMatcher(this, grammar)
    // An instance of its own is held from now on.
    if (compiled.own) this.attempt(answer, grammar, () => this.#follow(answer, compiled))
    return answer
  }

  /** Ends the worker. */
  close(): void {
    this.#worker?.close()
  }

  current(answer: AnswerMatcher): InstanceMatcher | undefined {
    return this.#followed.get(answer)?.cell.matcherOf(answer)
  }

  begin(answer: AnswerMatcher, grammar: Grammar): InstanceMatcher {
    return this.#follow(answer, this.#compiled(grammar))
  }

  end(answer: AnswerMatcher): void {
    const compiled = this.#followed.get(answer)
    this.#followed.delete(answer)
    compiled?.cell.end(answer)
    if (!compiled?.own) return
    compiled.own.answers--
    this.#leave(compiled)
  }

  /** A grammar whose answers trap twice is refused from then on; with an instance of its own, at once. */
  attempt<T>(answer: AnswerMatcher, grammar: Grammar, work: () => T): T {
    const drops = this.#drops
    try {
      return work()
    } catch (error) {
      if (!isTrap(error)) throw guideFailure(grammar.named, error)
      const compiled = this.#followed.get(answer) ?? this.#store.use(grammar)
      if (compiled?.own) {
        this.#dropOwn(grammar, compiled)
        throw this.#refuse(grammar, error)
      }
      if (this.#drops === drops) this.#drop()
    }
    try {
      return work()
    } catch (error) {
      if (!isTrap(error)) throw guideFailure(grammar.named, error)
      throw this.#blamed(grammar, error)
    }
  }

  /** Returns whether a grammar is compiled, refused, or to be compiled here and now. */
  #atOnce(grammar: Grammar): boolean {
    if (!this.#worker || this.#store.has(grammar) || this.#refused.has(grammar.key)) return true
    return this.#shared !== undefined && isCheap(grammar)
  }

  async #compileElsewhere(grammar: Grammar, signal: AbortSignal | undefined): Promise<void> {
    const worker = this.#worker
    try {
      const made = await worker?.compile(grammar, signal)
      const beginning = worker?.takeBeginning()
      if (beginning && !this.#shared) this.#opening ??= this.#open(beginning)
      await this.#opening
      if (made && 'error' in made) throw made.traps ? this.#refuse(grammar, made.error) : made.error
      if (made && !this.#store.has(grammar)) await this.#keepOwn(grammar, made)
    } catch (error) {
      if (!(error instanceof NoWorker)) throw error
      // Here no worker runs; this and later grammars are compiled in place.
      this.#worker = undefined
    }
    this.#compiled(grammar)
  }

  async #open(beginning: SavedInstance): Promise<void> {
    try {
      const { cell } = await restored(this.#make, beginning, tokenizeOf(this.#model.tokenizer))
      this.#shared ??= cell
    } catch (error) {
      throw startFailure(error)
    } finally {
      this.#opening = undefined
    }
  }

  /** Keeps a grammar that came with an instance of its own. */
  async #keepOwn(grammar: Grammar, saved: SavedInstance): Promise<void> {
    const { tenant } = grammar
    const bytes = saved.memory.length
    this.#store.dropWhere(({ own }) => own?.answers === 0 && !this.#memory.fits(tenant, bytes))
    if (!this.#memory.fits(tenant, bytes))
      throw new ForetokenError('busy', 'answers with other large guides hold the memory for guides; try again later')
    const giveBack = this.#memory.take(tenant, bytes)
    try {
      const { cell, grammar: compiled } = await restored(this.#make, saved, tokenizeOf(this.#model.tokenizer))
      if (!compiled) throw new ForetokenError('internal', 'a saved grammar engine came without its grammar')
      const made = { cell, grammar: compiled, own: { answers: 0, kept: true, giveBack } }
      if (this.#store.has(grammar)) giveBack()
      else this.#store.add(grammar, made)
    } catch (error) {
      giveBack()
      throw startFailure(error)
    }
  }

  #follow(answer: AnswerMatcher, compiled: Compiled): InstanceMatcher {
    const matcher = compiled.grammar.matcher()
    compiled.cell.follow(answer, matcher)
    if (compiled.own && this.#followed.get(answer) !== compiled) compiled.own.answers++
    this.#followed.set(answer, compiled)
    return matcher
  }

  #compiled(grammar: Grammar): Compiled {
    const { key, named } = grammar
    const known = this.#store.use(grammar)
    if (known) return known
    if (this.#refused.has(key)) throw trapped(named, undefined)
    const cell = this.#shared ?? this.#start()
    try {
      const compiled = { cell, grammar: compileGrammar(cell.vocabulary, grammar), own: undefined }
      this.#store.add(grammar, compiled)
      return compiled
    } catch (error) {
      // A compile that traps would trap again.
      throw isTrap(error) ? this.#blamed(grammar, error) : guideFailure(named, error)
    }
  }

  /** Throws what no grammar is refused for. */
  #start(): Cell {
    try {
      this.#table ??= new TokenTable(this.#model)
      this.#shared = new Cell(this.#table.build(this.#make()))
      return this.#shared
    } catch (error) {
      throw startFailure(error)
    }
  }

  /** Called when the store drops a grammar. Its matchers live on without it. */
  #forget(compiled: Compiled): void {
    const { cell, grammar, own } = compiled
    if (own) {
      own.kept = false
      this.#leave(compiled)
    } else if (cell === this.#shared) grammar.free()
  }

  /** Drops an instance of one grammar that guides nothing and will not. */
  #leave({ cell, own }: Compiled): void {
    if (!own || own.kept || own.answers > 0) return
    cell.drop()
    own.giveBack()
  }

  #dropOwn(grammar: Grammar, compiled: Compiled): void {
    this.#store.delete(grammar)
    compiled.cell.drop()
    compiled.own?.giveBack()
  }

  /** Forgets the shared instance, which trapped, with all of its objects. */
  #drop(): void {
    const cell = this.#shared
    this.#drops++
    this.#shared = undefined
    cell?.drop()
    this.#store.dropWhere((compiled) => compiled.cell === cell)
  }

  /** Drops the shared instance, and refuses the grammar that made it trap from then on. */
  #blamed(grammar: Grammar, error: unknown): ForetokenError {
    this.#drop()
    return this.#refuse(grammar, error)
  }

  #refuse({ key, named }: Grammar, error: unknown): ForetokenError {
    if (this.#refused.size >= mostRefused) this.#refused.clear()
    this.#refused.add(key)
    return trapped(named, error)
  }
}
