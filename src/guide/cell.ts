/**
 * Instances of the grammar engine and what they follow: one that all small grammars share, and one
 * for each large grammar, restored from a copy that a worker made.
 */
import { ForetokenError } from '../base/errors.ts'
import { nextTurn } from '../base/next-turn.ts'
import type { GuideInstance, InstanceGrammar, InstanceMatcher, InstanceVocabulary, SavedInstance } from './instance.ts'
import type { AnswerMatcher } from './matcher.ts'
import type { Tokenize } from './vocabulary.ts'

/** An instance. Answers may hold it when it was dropped: it is empty then, and its memory is garbage. */
export class Cell {
  #vocabulary: InstanceVocabulary | undefined
  #matchers = new WeakMap<AnswerMatcher, InstanceMatcher>()

  constructor(vocabulary: InstanceVocabulary) {
    this.#vocabulary = vocabulary
  }

  get vocabulary(): InstanceVocabulary {
    if (this.#vocabulary) return this.#vocabulary
    throw new ForetokenError('internal', 'an instance of the grammar engine was used after it was dropped')
  }

  matcherOf(answer: AnswerMatcher): InstanceMatcher | undefined {
    return this.#matchers.get(answer)
  }

  follow(answer: AnswerMatcher, matcher: InstanceMatcher): void {
    this.#matchers.set(answer, matcher)
  }

  /** Frees what follows an answer. */
  end(answer: AnswerMatcher): void {
    const matcher = this.#matchers.get(answer)
    this.#matchers.delete(answer)
    matcher?.free()
  }

  /** Forgets the instance with all of its objects. */
  drop(): void {
    this.#vocabulary = undefined
    this.#matchers = new WeakMap()
  }
}

/** Bytes of an instance that are restored before the host gets a turn: about a millisecond. */
const slice = 1 << 20

/** Restores an instance in slices. Throws what making an instance throws. */
export async function restored(
  make: () => GuideInstance,
  saved: SavedInstance,
  tokenize: Tokenize,
): Promise<{ readonly cell: Cell; readonly grammar: InstanceGrammar | undefined }> {
  const steps = make().restore?.(saved, tokenize, slice)
  if (!steps) throw new ForetokenError('internal', 'the grammar engine can not be restored')
  for (;;) {
    const { done, value } = steps.next()
    if (done) return { cell: new Cell(value.vocabulary), grammar: value.grammar }
    await nextTurn()
  }
}

/** Bytes of instances with large grammars, in all and of one tenant. */
const mostBytes = 256 << 20

/** Counts the memory of instances that hold one large grammar each. */
export class CellMemory {
  readonly #tenants = new Map<string, number>()
  #bytes = 0

  /** Returns whether so many bytes more may be held. One instance may have any size. */
  fits(tenant: string, bytes: number): boolean {
    if (this.#bytes === 0) return true
    const mine = this.#tenants.get(tenant) ?? 0
    return this.#bytes + bytes <= mostBytes && (mine === 0 || mine + bytes <= mostBytes / 2)
  }

  /** Takes memory. Returns a function that gives it back. */
  take(tenant: string, bytes: number): () => void {
    this.#add(tenant, bytes)
    let held = true
    return () => {
      if (held) this.#add(tenant, -bytes)
      held = false
    }
  }

  #add(tenant: string, bytes: number): void {
    this.#bytes += bytes
    const mine = (this.#tenants.get(tenant) ?? 0) + bytes
    if (mine > 0) this.#tenants.set(tenant, mine)
    else this.#tenants.delete(tenant)
  }
}
