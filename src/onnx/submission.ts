/** A request that an ONNX engine took on. Its place and its cache are given back however it ends, whether or not anybody reads it. */

import { ForetokenError } from '../base/errors.ts'
import type { Gate } from '../base/gate.ts'
import type { Lifetime } from '../base/lifetime.ts'
import { throwIfAborted } from '../base/turn.ts'
import type { Answer } from '../engine/answer.ts'
import type { AnyAnswer } from '../engine/any.ts'
import type { GenerateEvent } from '../stream/events.ts'

export class OrtSubmission implements AnyAnswer {
  readonly #answer: Answer
  readonly #life: Lifetime
  /** Resolves when the request has its place. */
  readonly #placed: Promise<void>
  readonly #events: () => AsyncGenerator<GenerateEvent>
  #reading: AsyncGenerator<GenerateEvent> | undefined

  /** `events` are those from its place on; `life` owns all that the request holds. Throws `busy` where there is no room to wait. */
  constructor(answer: Answer, gate: Gate, events: () => AsyncGenerator<GenerateEvent>, life: Lifetime) {
    if (!answer.ended) gate.check()
    this.#answer = answer
    this.#events = events
    this.#life = life
    this.#placed = answer.ended
      ? Promise.resolve()
      : gate.enter({ signal: life.signal }).then((release) => void life.hold(release))
    // Whoever reads is told.
    this.#placed.catch(() => {})
    life.signal.addEventListener('abort', () => answer.cancel(), { once: true })
    life.follow(answer.signal)
  }

  get soFar(): AnyAnswer['soFar'] {
    return this.#answer.soFar
  }

  /** The events, once. Leaving the loop early cancels the request. */
  async *[Symbol.asyncIterator](): AsyncGenerator<GenerateEvent> {
    try {
      await this.#placed
      throwIfAborted(this.#answer.signal)
      for await (const event of this.#begun()) {
        // A reader may not ask for the end behind the last event.
        if (event.type === 'done') {
          await this.#answer.settle()
          await this.#end()
        }
        yield event
      }
      throwIfAborted(this.#answer.signal)
    } catch (error) {
      throw this.#answer.failure ?? this.#closed ?? error
    } finally {
      await this.#life.end()
    }
  }

  /** Why it ended where its engine was closed. */
  get #closed(): ForetokenError | undefined {
    const { reason } = this.#life.signal
    return reason instanceof ForetokenError && reason.code === 'aborted' ? reason : undefined
  }

  /** Frees its place and its cache, once the step that it takes part in is over. May be called at any time, and twice. */
  cancel(): void {
    void this.#life.end()
  }

  /** Nothing is computed for an answer that was complete from the start. */
  #begun(): Iterable<GenerateEvent> | AsyncGenerator<GenerateEvent> {
    if (this.#reading) return this.#reading
    if (this.#answer.ended) return this.#answer.events.splice(0)
    const reading = this.#events()
    this.#reading = reading
    // Behind its place, so that the cache is dropped before somebody else gets that.
    this.#life.hold(() => reading.return(undefined).catch(() => {}))
    return reading
  }

  #end(): Promise<void> {
    this.#answer.end()
    return this.#life.end()
  }
}
