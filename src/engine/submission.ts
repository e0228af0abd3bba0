/** Joins the state of a local answer, which computing fills with events, and its one reader. */
import type { DoneEvent, GenerateEvent } from '../stream/events.ts'
import type { AnswerState } from './answer-state.ts'
import { EventReader } from './event-reader.ts'
import { resultOf } from './generate.ts'
import type { Answer } from './service.ts'

/** Computes answers while a caller waits for one of them. */
export interface Drive {
  /**
   * Computes until `served` returns true. A failure of the request ends its state; any other
   * failure rejects.
   */
  drive(served: () => boolean): Promise<void>
}

export class Submission implements Answer {
  readonly id: string | undefined
  readonly #state: AnswerState
  readonly #engine: Drive

  constructor(id: string | undefined, state: AnswerState, engine: Drive) {
    this.id = id
    this.#state = state
    this.#engine = engine
  }

  /** How the prompt has been read so far; final once the first token has been read. */
  get soFar(): Answer['soFar'] {
    return this.#state.soFar
  }

  /**
   * Reads the events. Each is delivered once: a second reader gets those that the first has not
   * read. Leaving the loop early cancels the request. Rejects with the request's failure, and with
   * `aborted`.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<GenerateEvent> {
    return new EventReader(
      () => this.#read(),
      () => this.cancel(),
    )
  }

  /** Reads all events and resolves with the last one. */
  result(): Promise<DoneEvent> {
    return resultOf(this)
  }

  /** Ends the request and frees its KV pages at once. May be called at any time, and twice. */
  cancel(): void {
    this.#state.cancel()
  }

  async #read(): Promise<GenerateEvent | undefined> {
    const state = this.#state
    const { events } = state
    for (;;) {
      const event = events.shift()
      if (event?.type === 'done') await state.whenCallbacksDone()
      if (event) return event
      if (state.error) throw state.error
      if (state.ended) return undefined
      await this.#engine.drive(() => events.length > 0 || state.ended)
    }
  }
}
