/** A request that was taken on: its events for one reader, or its result for who does not stream. */

import { asForetokenError } from '../base/errors.ts'
import type { Scheduler } from '../decode/scheduler.ts'
import type { DoneEvent, GenerateEvent } from '../stream/events.ts'
import type { Answer } from './answer.ts'

export class Submission implements AsyncIterable<GenerateEvent> {
  /** As the request named itself. */
  readonly id: string | undefined
  readonly #answer: Answer
  readonly #scheduler: Scheduler

  constructor(id: string | undefined, answer: Answer, scheduler: Scheduler) {
    this.id = id
    this.#answer = answer
    this.#scheduler = scheduler
  }

  /** How its prompt was read, as far as it has been: whole once the first token has come. */
  get soFar(): Pick<DoneEvent, 'cached_tokens' | 'prefill' | 'timings' | 'exact_from'> {
    return this.#answer.soFar
  }

  /**
   * The events, once: a second reader gets what the first left. Leaving the loop early cancels the request. Rejects with
   * what the request failed of.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<GenerateEvent> {
    const { events } = this.#answer
    try {
      for (;;) {
        for (let event = events.shift(); event; event = events.shift()) {
          if (event.type === 'done') await this.#answer.settle()
          yield event
        }
        if (this.#answer.ended) break
        await this.#scheduler.drive(() => events.length > 0 || this.#answer.ended)
      }
      if (this.#answer.error) throw this.#answer.error
    } finally {
      this.cancel()
    }
  }

  /** Reads all events; resolves with the last. */
  async result(): Promise<DoneEvent> {
    for await (const event of this) if (event.type === 'done') return event
    throw asForetokenError(new Error('the events were read before'), 'bad_argument')
  }

  /** Frees the request's KV pages at once. May be called at any time, and twice. */
  cancel(): void {
    this.#answer.cancel()
  }
}
