/**
 * Named moments of one request, and what is counted from them.
 *
 * TTFT runs from `accepted` (the request arrived, Enter was pressed) to `first` (the first token is handed to the
 * reader): queueing, templating, tokenising, cache look-up, prefill, sampling and detokenising are all inside.
 */

import type { PromptTimes } from './prompt.ts'

export type Mark =
  | 'accepted'
  /** The chat template has made its text; never, where there is none. */
  | 'templated'
  | 'tokenized'
  /** The scheduler turns to it; set anew if its place was taken from it before its first token. */
  | 'admitted'
  /** The prefix cache has been asked; set anew with `admitted`. */
  | 'begun'
  | 'prefilled'
  | 'first'
  | 'done'

/** What a finished request reports. Milliseconds, but for the rate. */
export interface Timings {
  /** Of the engine, before any request; not part of TTFT. */
  readonly load_ms: number
  /** Chat template; 0 without one. */
  readonly template_ms: number
  readonly tokenize_ms: number
  /** Waiting for other requests: until the scheduler lets it in. */
  readonly queue_ms: number
  /** Asking the prefix cache. */
  readonly cache_ms: number
  readonly prefill_ms: number
  /** Choosing the first token, and making text of it. */
  readonly sample_ms: number
  readonly ttft_ms: number
  /** Tokens after the first, by the time from the first to the last; 0 if there was no second token. */
  readonly decode_tokens_per_s: number
  readonly prompt_tokens: number
}

export class Trace {
  readonly #at = new Map<Mark, number>()

  /** Of a request that is accepted now, or whose prompt was prepared before. */
  constructor(prepared?: PromptTimes) {
    if (!prepared) this.mark('accepted')
    else for (const [mark, at] of Object.entries(prepared)) this.#at.set(mark as Mark, at)
  }

  /**
   * Sets a mark to `at`, in milliseconds as in `performance.now`, default now, if it is not set yet; `admitted`, `begun` and `done` move
   * on. Returns true if it was not set.
   */
  mark(mark: Mark, at = performance.now()): boolean {
    const first = !this.#at.has(mark)
    if (mark === 'done' || mark === 'admitted' || mark === 'begun' || first) this.#at.set(mark, at)
    return first
  }

  /** Milliseconds between two marks; 0 if either is missing. */
  between(from: Mark, to: Mark): number {
    const a = this.#at.get(from)
    const b = this.#at.get(to)
    return a === undefined || b === undefined ? 0 : b - a
  }

  timings(load: number, promptTokens: number, tokens: number): Timings {
    const decoding = this.between('first', 'done')
    return {
      load_ms: load,
      template_ms: this.between('accepted', 'templated'),
      tokenize_ms: this.between(this.#at.has('templated') ? 'templated' : 'accepted', 'tokenized'),
      queue_ms: this.between('tokenized', 'admitted'),
      cache_ms: this.between('admitted', 'begun'),
      prefill_ms: this.between('begun', 'prefilled'),
      sample_ms: this.between('prefilled', 'first'),
      ttft_ms: this.between('accepted', 'first'),
      decode_tokens_per_s: tokens > 1 && decoding > 0 ? ((tokens - 1) * 1000) / decoding : 0,
      prompt_tokens: promptTokens,
    }
  }
}
