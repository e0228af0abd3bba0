/** A request in the scheduler: what it needs of it, and where it stands. */
import type { Scores } from '../backend/backend.ts'
import type { ForetokenError } from '../errors.ts'
import type { Sequence } from '../kv/paged.ts'
import type { Candidate } from './policy.ts'

/** What the scheduler needs of a request, and tells it. */
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
  /** Its turn has come, if its pages fit; called again where they did not. */
  onAdmit?(): void
  /** It has its place and what the prefix cache had: its sequence, until `end`; called again where that was taken from it. */
  onBegin?(sequence: Sequence): void
  /** Prompt tokens done, those from the prefix cache included, and in all. The first call comes before any is run. */
  onPrefill?(done: number, total: number): void
  /** The prompt's K and V are predicted, before the first token; or its cache is exact from the next token on. */
  onCache?(kind: 'predicted' | 'exact'): void
  /** Called once, when its pages are free again; `error` if it failed. */
  end(error?: ForetokenError): void
}

/** A job that was taken on. */
export class Task implements Candidate {
  readonly job: Job
  readonly sequence: Sequence
  readonly number: number
  readonly arrived = performance.now()
  /** Prompt and answer: what the sequence holds or is to hold. */
  readonly tokens: number[]
  /** Tokens that the prefix cache held when it came. */
  readonly cachedHint: number
  streaming = false
  lastPass = -1
  /** Its first token waits until the cache is exact: the predictor was not sure. */
  doubted = false
  /** Set by a cancellation in the middle of a pass. */
  failed: ForetokenError | undefined
  done = false
  unlisten = () => {}

  constructor(job: Job, number: number, sequence: Sequence, cachedHint: number) {
    this.job = job
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

  /** As many of the best logits are all that is read: a doubt looks at two. */
  get best(): number {
    const { best = Number.POSITIVE_INFINITY, mode } = this.job
    return mode === 'auto' ? Math.max(best, 2) : best
  }

  /** Tokens of its cache that are to be made exact: none before its prompt has been read. */
  get inexact(): number {
    const { states, length, exact } = this.sequence
    return states?.kept && (this.streaming || this.doubted) ? length - exact : 0
  }
}
