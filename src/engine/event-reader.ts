/** Reads the events of one answer: the iterator of every `Answer`. */

import type { GenerateEvent } from '../stream/events.ts'

/**
 * Iterates without the two costs of a generator: three turns of the microtask queue for each event,
 * and a `return` that waits for whatever `next` waits for.
 */
export class EventReader implements AsyncIterableIterator<GenerateEvent, undefined> {
  readonly #read: () => Promise<GenerateEvent | undefined>
  readonly #leave: () => unknown
  /** The pending call of `next`. */
  #turn: Promise<unknown> | undefined
  #over = false

  /**
   * `read` resolves with the next event, or undefined at the end. `leave` frees everything that the
   * answer holds; it is called however the reading ends.
   */
  constructor(read: () => Promise<GenerateEvent | undefined>, leave: () => unknown) {
    this.#read = read
    this.#leave = leave
  }

  /** Resolves with the next event. Overlapping calls are served in order. */
  next(): Promise<IteratorResult<GenerateEvent, undefined>> {
    const step = () => this.#step()
    const turn = this.#turn ? this.#turn.then(step, step) : step()
    const clear = () => {
      if (this.#turn === turn) this.#turn = undefined
    }
    this.#turn = turn
    turn.then(clear, clear)
    return turn
  }

  async return(): Promise<IteratorResult<GenerateEvent, undefined>> {
    this.#over = true
    await this.#leave()
    return ended
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async #step(): Promise<IteratorResult<GenerateEvent, undefined>> {
    if (this.#over) return ended
    try {
      const value = await this.#read()
      if (value) return { done: false, value }
    } catch (error) {
      await this.return()
      throw error
    }
    return this.return()
  }
}

const ended = { done: true, value: undefined } as const
