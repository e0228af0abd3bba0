/** Whose turn it is: so many requests at once, and those that wait are let in edge by edge, so that a busy one holds up nobody else. */
import { ApiError } from '../edge/errors.ts'
import { Shares } from './shares.ts'

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
  readonly #shares: Shares
  /** By edge, those who wait; edges in the order in which they are next. */
  readonly #queues = new Map<string, Waiting[]>()

  /** `others`: whether some turns are kept for edges that have none. Default: an edge may hold them all. */
  constructor(limits: TurnLimits, others = false) {
    this.#limits = limits
    this.#shares = new Shares(limits.running, others)
  }

  get running(): number {
    return this.#shares.used
  }

  get waiting(): number {
    let count = 0
    for (const queue of this.#queues.values()) count += queue.length
    return count
  }

  /** Waits for a turn. Resolves with how to give it back, once. Throws an ApiError of 503; rejects with the signal's reason. */
  async take(edge: string, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted()
    // Where one fits nobody of its edge waits.
    const leave = this.#shares.fits(edge) ? this.#shares.take(edge) : await this.#wait(edge, signal)
    let inside = true
    return () => {
      if (!inside) return
      inside = false
      leave()
      this.#letIn()
    }
  }

  #wait(edge: string, signal: AbortSignal): Promise<() => void> {
    const queue = this.#queues.get(edge) ?? []
    if (queue.length >= this.#limits.waitingPerEdge)
      throw new ApiError(503, `${this.running} requests run, and ${queue.length} of this edge wait; try again`, {
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
        enter: () => {
          signal.removeEventListener('abort', gone)
          resolve(this.#shares.take(edge))
        },
      }
      signal.addEventListener('abort', gone, { once: true })
      queue.push(waiting)
    })
  }

  /** Turns go to the first of the edge that is next and may have one; that edge is the last from now on. */
  #letIn(): void {
    for (let next = this.#next(); next; next = this.#next()) {
      const [edge, queue] = next
      const { enter } = queue.shift()!
      this.#queues.delete(edge)
      if (queue.length > 0) this.#queues.set(edge, queue)
      enter()
    }
  }

  #next(): readonly [string, Waiting[]] | undefined {
    for (const entry of this.#queues) if (this.#shares.fits(entry[0])) return entry
    return undefined
  }
}
