/**
 * Named moments of one request, and what is counted from them.
 *
 * TTFT runs from `accepted` (the request arrived, Enter was pressed) to `first` (the first token is handed to the
 * reader): queueing, templating, tokenising, cache look-up, prefill, sampling and detokenising are all inside.
 */

export type Mark = 'accepted' | 'tokenized' | 'prefilled' | 'first' | 'done'

/** What a finished request reports. Milliseconds, but for the rate. */
export interface Timings {
  /** Of the engine, before any request; not part of TTFT. */
  readonly load_ms: number
  /** Template and tokenizer. */
  readonly tokenize_ms: number
  readonly prefill_ms: number
  readonly ttft_ms: number
  /** Tokens after the first, by the time from the first to the last; 0 if there was no second token. */
  readonly decode_tokens_per_s: number
  readonly prompt_tokens: number
}

export class Trace {
  readonly #at = new Map<Mark, number>()

  constructor() {
    this.mark('accepted')
  }

  /** Sets a mark to now, if it is not set yet (`done` moves on). */
  mark(mark: Mark): void {
    if (mark === 'done' || !this.#at.has(mark)) this.#at.set(mark, performance.now())
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
      tokenize_ms: this.between('accepted', 'tokenized'),
      prefill_ms: this.between('tokenized', 'prefilled'),
      ttft_ms: this.between('accepted', 'first'),
      decode_tokens_per_s: tokens > 1 && decoding > 0 ? ((tokens - 1) * 1000) / decoding : 0,
      prompt_tokens: promptTokens,
    }
  }
}
