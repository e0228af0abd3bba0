/**
 * The guide worker's side: compiles grammars where this blocks no one and can be ended. What took
 * long goes back as a copy of the whole instance, so that it is not compiled a second time.
 */
import type { TokenizerSpec } from '../base/model.ts'
import type { GuideModel } from '../decode/guide.ts'
import { compileGrammar } from './compile.ts'
import { guideFailure, isTrap, trapped } from './failure.ts'
import type { GuideInstance, InstanceVocabulary, SavedInstance } from './instance.ts'
import { TokenTable } from './vocabulary.ts'
import type { FromGuideWorker, ToGuideWorker } from './worker-messages.ts'

/** What a guide worker needs of its platform. */
export interface GuideServing {
  send(message: FromGuideWorker, transfer: readonly ArrayBuffer[]): void
  /** Loads `guide.js` from an address. */
  load(glue: string): Promise<{ readonly instantiate: (module: WebAssembly.Module) => GuideInstance }>
  tokenizerOf(spec: TokenizerSpec): GuideModel['tokenizer']
}

/** Returns a handler of messages. */
export function serveGuides({ send, load, tokenizerOf }: GuideServing): (message: ToGuideWorker) => Promise<void> {
  let opening: Promise<CompilingInstance> | undefined
  return async (message) => {
    if (message.type === 'open') {
      const { glue, module, spec, vocab } = message
      opening = load(glue).then(({ instantiate }) => {
        const table = new TokenTable({ vocab, tokenizer: tokenizerOf(spec), eosIds: spec.eosIds })
        return new CompilingInstance(() => instantiate(module), table)
      })
      const saved = (await opening).copy()
      send({ type: 'opened', saved }, [saved.memory.buffer])
      return
    }
    const { id } = message
    try {
      if (!opening) throw new Error('the guide worker got a grammar before it was opened')
      const saved = (await opening).compile(message)
      send({ type: 'compiled', id, ...(saved && { saved }) }, saved ? [saved.memory.buffer] : [])
    } catch (error) {
      const traps = isTrap(error)
      const { code, message: text } = traps ? trapped(message.named, error) : guideFailure(message.named, error)
      send({ type: 'failed', id, code, message: text, traps }, [])
    }
  }
}

/** Grammars after which the instance is replaced, since what they left in its memory would be copied. */
const mostCompiled = 64

/** Most bytes that a grammar may take. More is treated as a trap, which it is in a model of more tokens. */
const mostGrowth = 64 << 20

/** An instance that is put back to its beginning. */
class CompilingInstance {
  readonly #make: () => GuideInstance
  readonly #table: TokenTable
  readonly #beginning: SavedInstance
  #instance: GuideInstance
  #vocabulary: InstanceVocabulary
  #compiled = 0

  constructor(make: () => GuideInstance, table: TokenTable) {
    this.#make = make
    this.#table = table
    this.#instance = make()
    this.#vocabulary = table.build(this.#instance)
    this.#beginning = this.#save(undefined)
  }

  /** Returns a copy of the beginning. */
  copy(): SavedInstance {
    return { ...this.#beginning, memory: this.#beginning.memory.slice() }
  }

  /** Compiles a grammar. Returns the instance with it if that took long. Throws the engine's errors, and traps. */
  compile(message: Extract<ToGuideWorker, { type: 'compile' }>): SavedInstance | undefined {
    const { againMs } = message
    const begun = performance.now()
    this.#compiled++
    try {
      const grammar = compileGrammar(this.#vocabulary, message)
      if (performance.now() - begun > againMs) {
        const saved = this.#save(grammar)
        this.#reset()
        if (saved.memory.length - this.#beginning.memory.length <= mostGrowth) return saved
        throw new RangeError(`a grammar takes ${saved.memory.length - this.#beginning.memory.length} bytes`)
      }
      grammar.free()
    } catch (error) {
      if (isTrap(error)) this.#reset()
      throw error
    }
    if (this.#compiled >= mostCompiled) this.#reset()
    return undefined
  }

  #save(grammar: Parameters<NonNullable<GuideInstance['save']>>[1]): SavedInstance {
    const saved = this.#instance.save?.(this.#vocabulary, grammar, this.#table.tokenize)
    if (!saved) throw new Error('the grammar engine can not be saved: its guide.js is older than this library')
    return saved
  }

  #reset(): void {
    this.#compiled = 0
    this.#instance = this.#make()
    const restored = this.#instance.restore?.(this.#beginning, this.#table.tokenize).next().value
    if (!restored) throw new Error('the grammar engine can not be restored')
    this.#vocabulary = restored.vocabulary
  }
}
