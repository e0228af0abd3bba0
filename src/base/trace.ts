/**
 * Times of the steps of a request, and the durations between them.
 *
 * TTFT runs from `accepted` (the request arrived, Enter was pressed) to `first` (the first token is
 * given to the reader). It includes queueing, templating, tokenizing, cache look-up, prefill,
 * sampling and detokenizing.
 */

import type { PromptTimes } from './prompt.ts'

export type Mark =
  | 'accepted'
  /** The chat template was rendered. Not set without a template. */
  | 'templated'
  | 'tokenized'
  /** The scheduler admitted the request. Set again after a preemption before the first token. */
  | 'admitted'
  /** The prefix cache was searched. Set again with `admitted`. */
  | 'begun'
  | 'prefilled'
  | 'first'
  | 'done'

/** Timings of a finished request, in milliseconds unless noted. */
export interface Timings {
  /** Time to load the engine, before any request. Not part of TTFT. */
  readonly load_ms: number
  /** Time to render the chat template; 0 without one. */
  readonly template_ms: number
  readonly tokenize_ms: number
  /** Time until the scheduler admitted the request. */
  readonly queue_ms: number
  /** Time to search the prefix cache. */
  readonly cache_ms: number
  readonly prefill_ms: number
  /** Time to sample and detokenize the first token. */
  readonly sample_ms: number
  readonly ttft_ms: number
  /**
   * Tokens after the first, divided by the time from the first to the last, in 1/s; 0 without a
   * second token.
   */
  readonly decode_tokens_per_s: number
  readonly prompt_tokens: number
  /** Number of the answer's tokens that a guide forced, without drawing. Absent without a guide. */
  readonly forced_tokens?: number
}

/** Collects the times of one request. */
export class Trace {
  readonly #at = new Map<Mark, number>()

  /** Starts at the times of a prepared prompt; without one, marks the request as accepted now. */
  constructor(prepared?: PromptTimes) {
    if (!prepared) this.mark('accepted')
    else for (const [mark, at] of Object.entries(prepared)) this.#at.set(mark as Mark, at)
  }

  /**
   * Sets a mark to `at`, in milliseconds of `performance.now()`; default now. Only `admitted`,
   * `begun` and `done` are set again if they were set before. Returns true if the mark was not set.
   */
  mark(mark: Mark, at = performance.now()): boolean {
    const first = !this.#at.has(mark)
    if (mark === 'done' || mark === 'admitted' || mark === 'begun' || first) this.#at.set(mark, at)
    return first
  }

  /** Returns the milliseconds between two marks, or 0 if either is missing. */
  between(from: Mark, to: Mark): number {
    const begin = this.#at.get(from)
    const end = this.#at.get(to)
    return begin === undefined || end === undefined ? 0 : end - begin
  }

  /**
   * Returns the timings of a request with `tokens` generated tokens. `load` is the engine's load
   * time in milliseconds.
   */
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
