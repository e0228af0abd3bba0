/** A request in the scheduler: what it needs of it, and where it stands. */
import type { Scores } from '../backend/backend.ts'
import type { ForetokenError } from '../base/errors.ts'
import type { Sequence } from '../kv/paged.ts'
import type { PrefixIndex } from '../kv/prefix.ts'
import type { Candidate } from './policy.ts'

/**
 * What the scheduler needs of a request, and tells it. A function may do anything: cancel, submit and throw. Changes wait until
 * the pass under way has ended, and what a function throws fails its own request only.
 */
export interface Job {
  /** The prompt; at least one token, all in the vocabulary. */
  readonly ids: readonly number[]
  /** Whose cached prefixes it may use. */
  readonly tenant: string
  /** How the prompt's K and V come about. Default `exact`. */
  readonly mode?: 'exact' | 'predicted' | 'refined' | 'auto'
  readonly signal?: AbortSignal | undefined
  /** As many of the best logits are all that `take` reads. Default: all are read. */
  readonly best?: number
  /** Takes the scores of the next token; gives that token if it is to be run, undefined if the answer is complete. */
  take(scores: Scores): number | undefined
  /**
   * Called when its prompt gets its place, and again after preemption; `at` is when its turn came, in milliseconds, as in
   * `performance.now`.
   */
  onAdmit?(at: number): void
  /** Called behind `onAdmit`: its sequence, until `end`, and how many tokens of it the prefix cache held. */
  onBegin?(sequence: Sequence, cached: number): void
  /**
   * Prompt tokens done, those from the prefix cache included, and in all. The first call behind `onBegin` comes before any is
   * run; `at` then tells when the prefix cache had been asked.
   */
  onPrefill?(done: number, total: number, at?: number): void
  /** The prompt's K and V are predicted, before the first token; or its cache is exact from the next token on. */
  onCache?(kind: 'predicted' | 'exact'): void
  /** Called once, when its pages are free again; `error` if it failed. What it throws is dropped: the request has ended. */
  end(error?: ForetokenError): void
}

/** A job that was taken on. */
export class Task implements Candidate {
  readonly job: Job
  readonly tenant: string
  readonly sequence: Sequence
  readonly number: number
  readonly arrived = performance.now()
  /** Prompt and answer: what the sequence holds or is to hold. */
  readonly tokens: number[]
  /** Tokens that the prefix cache held when it came, or when its place was taken for another tenant's sake. */
  cachedHint: number
  /** As many of the best logits are all that is read: a doubt looks at two. */
  readonly best: number
  streaming = false
  lastPass = -1
  /** Its first token waits until the cache is exact: the predictor was not sure. */
  doubted = false
  /** It was told that its prompt is predicted, and not yet that its cache is exact. */
  inexactTold = false
  /** Tokens that it had when its place was last taken for another tenant's sake. */
  yieldedAt = Number.NEGATIVE_INFINITY
  /** How it ends, once that is known; it hears nothing more but `end`, which waits for the end of the pass. */
  ending: { readonly error: ForetokenError | undefined } | undefined
  unlisten = () => {}

  constructor(job: Job, number: number, sequence: Sequence, cachedHint: number) {
    const { best = Number.POSITIVE_INFINITY, mode, tenant } = job
    this.job = job
    this.tenant = tenant
    this.best = mode === 'auto' ? Math.max(best, 2) : best
    this.number = number
    this.sequence = sequence
    this.tokens = [...job.ids]
    this.cachedHint = cachedHint
  }

  get pending(): number {
    return this.tokens.length - this.sequence.length
  }

  get expected(): number {
    return this.running ? this.pending : this.pending - this.cachedHint
  }

  get running(): boolean {
    return this.sequence.length > 0
  }

  /** Tokens of its cache that are to be made exact: none before its prompt has been read. */
  get inexact(): number {
    const { states, length, exact } = this.sequence
    return states?.kept && (this.streaming || this.doubted) ? length - exact : 0
  }

  /** Lets later requests use what this one has computed exactly. */
  keepIn(prefixes: PrefixIndex): void {
    prefixes.insert(this.tenant, this.tokens.slice(0, this.sequence.exact), this.sequence.pages)
  }
}
