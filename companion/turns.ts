/** Whose turn it is: so many requests at once, and those that wait are let in edge by edge, so that a busy one holds up nobody else. */
import { ApiError } from '../edge/errors.ts'

export interface TurnLimits {
  /** Requests that run at once. */
  readonly running: number
  /** Requests of an edge that may wait; one more is refused. */
  readonly waitingPerEdge: number
}

interface Waiting {
  readonly enter: () => void
}

export class Turns {
  readonly #limits: TurnLimits
  /** By edge, those who wait; edges in the order in which they are next. */
  readonly #queues = new Map<string, Waiting[]>()
  #running = 0

  constructor(limits: TurnLimits) {
    this.#limits = limits
  }

  get running(): number {
    return this.#running
  }

  get waiting(): number {
    let count = 0
    for (const queue of this.#queues.values()) count += queue.length
    return count
  }

  /** Waits for a turn. Resolves with how to give it back, once. Throws an ApiError of 503; rejects with the signal's reason. */
  async take(edge: string, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted()
    if (this.#running < this.#limits.running) this.#running++
    else await this.#wait(edge, signal)
    let inside = true
    return () => {
      if (inside) this.#leave()
      inside = false
    }
  }

  #wait(edge: string, signal: AbortSignal): Promise<void> {
    const queue = this.#queues.get(edge) ?? []
    if (queue.length >= this.#limits.waitingPerEdge)
      throw new ApiError(503, `${this.#running} requests run, and ${queue.length} of this edge wait; try again`, {
        code: 'busy',
        retryAfter: 1,
      })
    this.#queues.set(edge, queue)
    return new Promise((resolve, reject) => {
      const gone = () => {
        queue.splice(queue.indexOf(waiting), 1)
        if (queue.length === 0) this.#queues.delete(edge)
        reject(signal.reason)
      }
      const waiting = {
        enter() {
          signal.removeEventListener('abort', gone)
          resolve()
        },
      }
      signal.addEventListener('abort', gone, { once: true })
      queue.push(waiting)
    })
  }

  /** The turn goes to the first of the edge that is next; that edge is the last from now on. */
  #leave(): void {
    const next = this.#queues.entries().next().value
    if (!next) {
      this.#running--
      return
    }
    const [edge, queue] = next
    const { enter } = queue.shift()!
    this.#queues.delete(edge)
    if (queue.length > 0) this.#queues.set(edge, queue)
    enter()
  }
}
