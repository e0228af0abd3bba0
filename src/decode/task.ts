/** A request in the scheduler: what the scheduler needs of it, and its state. */
import type { Scores } from '../backend/backend.ts'
import type { ForetokenError } from '../base/errors.ts'
import type { KvReader } from '../base/pass.ts'
import type { PromptChunk } from '../base/prompt.ts'
import type { PrefixIndex } from '../kv/prefix.ts'
import type { Sequence } from '../kv/sequence.ts'
import { type Placement, positionAfter, rowsBetween } from '../pack/placements.ts'
import { type Candidate, lagOf } from './policy.ts'

/**
 * A request, as its owner hands it to the scheduler. A callback may do anything: cancel, submit and
 * throw. Changes wait until the current pass has ended, and an exception fails this request only.
 */
export interface Job {
  /** Token ids of the prompt: at least one, all in the vocabulary. */
  readonly ids: readonly number[]
  /** Tokens of the prompt that `ids` begins, if they are not all of it. Default `ids.length`. */
  readonly promptTokens?: number
  /** The tenant whose cached prefixes it may use. */
  readonly tenant: string
  /** How the prompt's K and V are made. Default `exact`. */
  readonly mode?: 'exact' | 'predicted' | 'refined' | 'auto'
  /**
   * Chunks of the prompt, in order. Where some are kept and `mode` is not `exact`, their K and V are
   * placed, and all other tokens are run.
   */
  readonly chunks?: readonly PromptChunk[] | undefined
  /** Whether a prompt none of whose chunks is kept may be predicted. Default true. */
  readonly predicts?: boolean
  readonly signal?: AbortSignal | undefined
  /**
   * Reads states instead of answering: the job ends when its prompt has been read, and its pages are
   * not kept. `chooseTokens` is never called.
   */
  readonly states?: StatesReader
  /** Reads K and V instead of answering, as `states` reads states. */
  readonly kv?: KvReader
  /** Whether nobody waits for its first token: others go first, `last` behind all. Default false. */
  readonly bulk?: boolean | 'last'
  /** Whether its prompt is read in one pass, since its tokens see those behind them. Default false. */
  readonly whole?: boolean
  /** How many of the best logits `chooseTokens` reads. Default: all. */
  readonly best?: number
  /**
   * Reads the scores of the next token. Returns the tokens to run: that one, and those that are sure
   * to follow it, at least one together. Returns undefined if the answer is complete.
   */
  chooseTokens(scores: Scores): readonly number[] | undefined
  /**
   * Whether tokens that were chosen from predicted K and V are checked by exact scores. Default
   * false.
   */
  readonly checking?: boolean
  /**
   * Reads the exact scores of the answer's next token that has not been checked, of which there may
   * be none. Returns undefined if the token stands, otherwise how the answer goes on. A job that has
   * this method goes on after its last token until its cache is exact.
   */
  checkToken?(scores: Scores): Cut | undefined
  /**
   * Called when the prompt is admitted, and again after preemption. `at` is the time in
   * milliseconds, as in `performance.now`, when the planner reached the prompt.
   */
  onAdmit?(at: number): void
  /**
   * Called after `onAdmit` with its sequence, valid until `end`, and the number of its tokens that
   * the prefix cache held.
   */
  onBegin?(sequence: Sequence, cached: number): void
  /** Called after `onBegin` with the tokens whose K and V are placed, if there are any. */
  onPlaced?(placements: readonly Placement[]): void
  /**
   * Reports the number of prompt tokens done, including those from the prefix cache, and the total.
   * The first call after `onBegin` comes before any token is run; its `at` is the time when the
   * look-up in the prefix cache ended.
   */
  onPrefill?(done: number, total: number, at?: number): void
  /**
   * Called when the prompt's K and V are predicted, before the first token; and when the cache is
   * exact from the next token on.
   */
  onCache?(kind: 'predicted' | 'exact'): void
  /**
   * Called once, after the request's pages were freed, with an `error` if it failed. Exceptions are
   * ignored: the request has ended.
   */
  end(error?: ForetokenError): void
}

/** How an answer goes on whose tokens do not all stand. */
export interface Cut {
  /** Number of its tokens that stay. */
  readonly kept: number
  /** The tokens to run after them, as `chooseTokens` returns them. */
  readonly ids: readonly number[] | undefined
}

/** Reads the final states of a prompt's tokens, for an embedding. */
export interface StatesReader {
  readonly rows: 'first' | 'last' | 'all'
  /**
   * Called after each pass with the states of the tokens from `position` on, (tokens, hidden), valid
   * during the call. After `onBegin` positions begin at 0 again.
   */
  read(states: Float32Array, position: number): void
}

/** A job that the scheduler has accepted. */
export class Task implements Candidate {
  readonly job: Job
  readonly tenant: string
  readonly sequence: Sequence
  readonly number: number
  readonly arrived = performance.now()
  /** Prompt and answer: the tokens that the sequence holds or is going to hold. */
  readonly tokens: number[]
  /** Tokens of the prompt that are placed and not run. */
  placements: readonly Placement[] = []
  /**
   * Tokens that the prefix cache held when the job arrived, or when it last yielded to another
   * tenant.
   */
  cachedHint: number
  /** How many of the best logits are read. Judging whether a first token is doubtful needs two. */
  readonly best: number
  streaming = false
  lastPass = -1
  /** Whether its first token waits until the cache is exact, because the predictor was not sure. */
  doubted = false
  /**
   * Whether its owner was notified that the prompt is predicted, and not yet that the cache is
   * exact.
   */
  notifiedInexact = false
  /** Whether its answer is complete, and it goes on only until its cache is exact and checked. */
  settling = false
  /** Positions of the rows whose exact scores are checked: `from` to `to` - 1. */
  unchecked: { from: number; to: number }
  /** Number of the pass in which its answer was cut: other shares of that pass are void. */
  cutIn = -1
  /** Number of its tokens when it last yielded to another tenant. */
  yieldedAt = Number.NEGATIVE_INFINITY
  /**
   * How the request ends, once that is known. From then on only `end` is called, after the current
   * pass.
   */
  ending: { readonly error: ForetokenError | undefined } | undefined
  unlisten = () => {}
  /** Number of its tokens that have been run at least once. */
  #ran = 0

  constructor(job: Job, number: number, sequence: Sequence, cachedHint: number) {
    const { best = Number.POSITIVE_INFINITY, mode, tenant } = job
    this.job = job
    this.tenant = tenant
    this.best = mode === 'auto' ? Math.max(best, 2) : best
    this.number = number
    this.sequence = sequence
    this.tokens = [...job.ids]
    this.unchecked = { from: job.ids.length - 1, to: job.ids.length - 1 }
    this.cachedHint = cachedHint
  }

  get bulk(): boolean | 'last' {
    return this.job.bulk ?? false
  }

  get whole(): boolean {
    return this.job.whole ?? false
  }

  /** Whether it reads what its prompt computes instead of answering. */
  get reads(): boolean {
    return this.job.states !== undefined || this.job.kv !== undefined
  }

  /** Number of tokens that its sequence is prepared for, see `Sequence.expect`. */
  get held(): number {
    return Math.max(this.tokens.length, this.job.promptTokens ?? 0)
  }

  /**
   * Whether its next token does not fit into its sequence as it is, so that all its tokens have to be
   * read again.
   */
  get outgrown(): boolean {
    return this.running && this.sequence.outgrows(this.tokens.length)
  }

  /** Number of its tokens that its cache does not hold. */
  get unread(): number {
    return this.tokens.length - this.sequence.length
  }

  get pending(): number {
    return rowsBetween(this.placements, this.sequence.length, this.tokens.length)
  }

  /** Returns how many tokens its next `rows` rows reach, with those that are placed before them. */
  reach(rows: number): number {
    const { length } = this.sequence
    return positionAfter(this.placements, length, rows) - length
  }

  get expected(): number {
    return this.running ? this.pending : this.pending - this.cachedHint
  }

  get running(): boolean {
    return this.sequence.length > 0
  }

  /** Number of tokens in its cache that have to be made exact: 0 until its prompt has been read. */
  get inexact(): number {
    const { states, length, exact } = this.sequence
    return states?.kept && (this.streaming || this.doubted) ? length - exact : 0
  }

  /**
   * Number of tokens of its answer that its cache may still lag behind, until it should be exact:
   * 0 once it should be.
   */
  get lag(): number {
    if (this.outgrown) return 0
    const { length } = this.job.ids
    return Math.max(0, lagOf(length) - (this.tokens.length - length) + 1)
  }

  /** Number of rows from position `from` to `to` - 1 whose scores are checked. */
  checks(from: number, to: number): number {
    const { unchecked } = this
    return Math.max(0, Math.min(to, unchecked.to) - Math.max(from, unchecked.from))
  }

  /**
   * Drops the tokens of its answer after the first `kept`, all of which its cache holds exactly.
   * `pass` is the number of the current pass.
   */
  cut(kept: number, pass: number): void {
    const length = this.job.ids.length + kept
    this.tokens.length = length
    this.sequence.cut(length)
    this.unchecked = { from: length, to: length }
    this.settling = false
    this.cutIn = pass
    this.yieldedAt = Math.min(this.yieldedAt, length)
    this.#ran = Math.min(this.#ran, length)
  }

  /** Records that its first `length` tokens have been run. Returns how many of its answer's were run for the first time. */
  run(length: number): number {
    const first = Math.max(this.#ran, this.job.ids.length)
    this.#ran = Math.max(this.#ran, length)
    return Math.max(0, length - first)
  }

  /** Lets later requests reuse what this one has computed exactly. */
  keepIn(prefixes: PrefixIndex): void {
    if (this.reads) return
    const { exact, pages, long } = this.sequence
    prefixes.insert(this.tenant, this.tokens.slice(0, exact), pages, long)
  }
}
