/** Keeps an answer to a shape: masks the tokens that a grammar excludes, and finds those it forces. */
import { defined } from '../base/at.ts'
import type { Guide } from '../base/guide.ts'
import type { TokenizerSpec } from '../base/model.ts'

/** Compiles guides for one model; `src/guide` implements it. */
export interface Guides {
  /** Returns whether `matcher` compiles nothing that takes long. Throws `bad_argument` for a malformed guide. */
  isCompiled(guide: Guide, who?: GuideFor): boolean
  /**
   * Compiles a guide, unless it was compiled before for this tenant. Returns undefined if that is done;
   * a promise if a worker compiles it, which rejects with `aborted` and `busy`, too. Throws as `matcher`.
   */
  compile(guide: Guide, who?: GuideFor): Promise<void> | undefined
  /**
   * Returns the state of an answer that has no tokens yet. Throws `bad_argument` for a guide that is
   * malformed, that nothing matches or that exceeds a limit, and `unsupported` for one that uses a
   * feature that is not implemented; for schemas the message has the path to the fault.
   */
  matcher(guide: Guide, who?: GuideFor): GuideMatcher
  /** Ends what compiles. Matchers go on. */
  close?(): void
}

/** Whose guide it is, and how long it is wanted. */
export interface GuideFor {
  /** Tenants do not find each other's grammars. Default ''. */
  readonly tenant?: string | undefined
  readonly signal?: AbortSignal | undefined
}

/** What guides need to know of a model. */
export interface GuideModel {
  /** Number of logits. */
  readonly vocab: number
  readonly tokenizer: {
    readonly vocabSize: number
    tokenBytes(id: number): Uint8Array
    isSpecial(id: number): boolean
    encode(text: string): number[]
  }
  /** Ids of the tokens that end an answer. */
  readonly eosIds: readonly number[]
  /** What a worker makes the tokenizer of; without it guides are compiled in place. */
  readonly spec?: TokenizerSpec | undefined
}

/** Opens the grammar engine for a model; `openGuides` makes one. */
export type OpenGuides = (model: GuideModel) => Guides | Promise<Guides>

/** The state of one answer under a grammar; `src/guide` implements it. */
export interface GuideMatcher {
  /** Resolves when the grammar is compiled, and rejects if it can't be; absent once it is compiled. */
  readonly ready?: Promise<void> | undefined
  /**
   * Sets the bit of each token that may come next: token `i` is bit `i % 32` of word `i / 32`. Returns
   * false if none may come. Throws `bad_argument` if that costs more than a limit allows.
   */
  mask(into: Uint32Array): boolean
  /** Adds a token. Throws `bad_argument` if the grammar excludes it. May be called before `ready`. */
  accept(id: number): void
  /** Returns the tokens that must come next; none where there is a choice. Does not add them. */
  forced(): readonly number[]
  /** Whether no token but one that ends the answer may come. False before `ready`. */
  readonly stopped: boolean
  /** Frees the matcher. May be called twice. */
  end(): void
}

/** More tokens than may come next where they are forced: the beginnings of one text. */
const mostBeginnings = 64

/** A matcher with the mask of the next token, which is computed once. */
export class Mask {
  readonly #matcher: GuideMatcher
  #words = new Uint32Array(0)
  #vocab: number
  /** Number of tokens that may come next; undefined while the mask is that of an earlier token. */
  #allowed: number | undefined

  /** `vocab` is the number of logits. */
  constructor(matcher: GuideMatcher, vocab: number) {
    this.#matcher = matcher
    this.#vocab = vocab
  }

  /** Whether the answer is complete: no token can follow, but one that ends it. */
  get stopped(): boolean {
    if (this.#matcher.ready) return false
    return this.#matcher.stopped || this.#compute() === 0
  }

  accept(id: number): void {
    this.#allowed = undefined
    this.#matcher.accept(id)
  }

  /** Returns the tokens that must come next; none where there is a choice. */
  forced(): readonly number[] {
    if (this.stopped) return []
    const allowed = this.#compute()
    return allowed > 0 && allowed <= mostBeginnings ? this.#matcher.forced() : []
  }

  /** Writes -Infinity over the scores of tokens that may not come next. */
  apply(scores: Float32Array): void {
    this.#compute()
    const words = this.#words
    for (let word = 0; word < words.length; word++) {
      const bits = words[word] ?? 0
      if (bits === 0xffffffff) continue
      const from = 32 * word
      if (bits === 0) {
        scores.fill(Number.NEGATIVE_INFINITY, from, from + 32)
        continue
      }
      const end = Math.min(32, scores.length - from)
      for (let bit = 0; bit < end; bit++) if (((bits >>> bit) & 1) === 0) scores[from + bit] = Number.NEGATIVE_INFINITY
    }
    scores.fill(Number.NEGATIVE_INFINITY, 32 * words.length)
  }

  end(): void {
    this.#matcher.end()
  }

  #compute(): number {
    if (this.#allowed !== undefined) return this.#allowed
    const size = Math.ceil(this.#vocab / 32)
    if (this.#words.length !== size) this.#words = new Uint32Array(size)
    const any = this.#matcher.mask(this.#words)
    this.#allowed = any ? ones(this.#words) : 0
    return this.#allowed
  }
}

function ones(words: Uint32Array): number {
  let count = 0
  for (let i = 0; i < words.length; i++) {
    let bits = defined(words[i])
    if (bits === 0) continue
    bits -= (bits >>> 1) & 0x55555555
    bits = (bits & 0x33333333) + ((bits >>> 2) & 0x33333333)
    count += (((bits + (bits >>> 4)) & 0x0f0f0f0f) * 0x01010101) >>> 24
  }
  return count
}
