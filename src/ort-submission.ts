/** A request that an ONNX engine took on: it waits for a place, and gives it back however it ends, also where nobody reads on. */
import type { Answer } from './answer.ts'
import type { AnyAnswer } from './any-engine.ts'
import type { Places } from './places.ts'
import type { GenerateEvent } from './stream/events.ts'
import { throwIfAborted } from './turn.ts'

export class OrtSubmission implements AnyAnswer {
  readonly #answer: Answer
  readonly #place: Promise<() => void>
  readonly #events: () => AsyncGenerator<GenerateEvent>
  readonly #onEnd: () => void
  #reading: AsyncGenerator<GenerateEvent> | undefined

  /** `events` are those from its place on. Throws `busy` where there is no room to wait. */
  constructor(answer: Answer, places: Places, events: () => AsyncGenerator<GenerateEvent>, onEnd: () => void) {
    if (!answer.ended) places.check()
    this.#answer = answer
    this.#events = events
    this.#onEnd = onEnd
    this.#place = answer.ended ? Promise.resolve(() => {}) : places.take(answer.signal)
    // Told to whoever reads.
    this.#place.catch(() => {})
  }

  get soFar(): AnyAnswer['soFar'] {
    return this.#answer.soFar
  }

  /** The events, once. Leaving the loop early cancels the request. */
  async *[Symbol.asyncIterator](): AsyncGenerator<GenerateEvent> {
    try {
      await this.#place
      throwIfAborted(this.#answer.signal)
      if (!this.#answer.ended) this.#reading = this.#events()
      for await (const event of this.#reading ?? this.#answer.events.splice(0)) {
        if (event.type === 'done') this.#end()
        yield event
      }
      throwIfAborted(this.#answer.signal)
    } finally {
      this.cancel()
    }
  }

  /** Frees its place. May be called at any time, and twice. */
  cancel(): void {
    this.#answer.cancel()
    this.#end()
  }

  #end(): void {
    this.#answer.end()
    this.#onEnd()
    // Its cache is freed, whether or not anybody reads on.
    this.#reading?.return(undefined).catch(() => {})
    this.#place.then(
      (free) => free(),
      () => {},
    )
  }
}
