/**
 * Computes the answers of an engine without a scheduler in steps. Each step runs when the reader
 * has read all events.
 */
import { abortReason } from '../base/cancelled.ts'
import { asForetokenError, type ForetokenError } from '../base/errors.ts'
import type { Lifetime } from '../base/lifetime.ts'
import type { AnswerState } from './answer-state.ts'
import { type Drive, Submission } from './submission.ts'

/** Describes how an engine computes one answer. */
export interface Steps {
  /** Waits for a place. Resolves with a function that gives it back. */
  enter(signal: AbortSignal): Promise<() => unknown>
  /**
   * Computes the answer; each step adds events to the state. `return` frees everything that the
   * steps hold.
   */
  run(): AsyncGenerator<void>
}

/**
 * Starts a request, which waits for its place from this call on. `life` owns everything that the
 * request holds. It ends and frees the place after the last step, on a failure, or when the request
 * is cancelled, even if no caller reads the answer.
 */
export function submitSteps(id: string | undefined, state: AnswerState, life: Lifetime, steps: Steps): Submission {
  // The tokens that were shown before may be the whole answer, which then needs no computing.
  if (state.ended) {
    void life.end()
    return new Submission(id, state, { drive: async () => {} })
  }
  return new Submission(id, state, new Stepper(state, life, steps))
}

class Stepper implements Drive {
  readonly #state: AnswerState
  readonly #life: Lifetime
  readonly #entered: Promise<unknown>
  readonly #steps: Steps
  #running: AsyncGenerator<void> | undefined

  constructor(state: AnswerState, life: Lifetime, steps: Steps) {
    this.#state = state
    this.#life = life
    this.#steps = steps
    this.#entered = steps.enter(life.signal).then((leave) => life.hold(leave))
    // Reported to the reader, if there is one.
    this.#entered.catch(() => {})
    life.signal.addEventListener('abort', () => this.#fail(abortReason(life.signal)), { once: true })
    life.follow(state.signal)
  }

  async drive(served: () => boolean): Promise<void> {
    while (!served())
      try {
        await this.#entered
        if (served()) return
        const { done } = await this.#begun().next()
        if (done) await this.#end()
      } catch (error) {
        await this.#end(error)
      }
  }

  #begun(): AsyncGenerator<void> {
    if (this.#running) return this.#running
    const running = this.#steps.run()
    this.#running = running
    // Registered after the place, so that its cache is dropped before another request gets that.
    this.#life.hold(() => running.return(undefined).catch(() => {}))
    return running
  }

  async #end(error?: unknown): Promise<void> {
    if (!this.#state.ended) this.#state.end(error === undefined ? undefined : asForetokenError(error))
    await this.#life.end()
  }

  /** An answer that was cut off shows no further events. */
  #fail(reason: ForetokenError): void {
    const state = this.#state
    if (state.ended) return
    state.events.length = 0
    state.end(reason)
  }
}
