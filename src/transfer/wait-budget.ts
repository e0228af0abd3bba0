/** Limits the time spent waiting for a remote peer. */
import { after } from '../base/timeout.ts'

/**
 * Limits the total time that a peer may keep us waiting. The clock runs only while we wait, and
 * progress gives time back. So a peer that is slow once is forgiven, and one that is always too
 * slow is given up, however small the pieces that it sends.
 */
export class WaitBudget {
  readonly #most: number
  readonly #onSpent: () => void
  #left: number
  #begun = 0
  #stop: (() => void) | undefined
  #spent = false
  /** Milliseconds waited so far. */
  waitedMs = 0

  /** `onSpent` is called once, after `ms` of waiting that no progress gave back. */
  constructor(ms: number, onSpent: () => void) {
    this.#most = ms
    this.#left = ms
    this.#onSpent = onSpent
  }

  /** True once the peer was given up. */
  get spent(): boolean {
    return this.#spent
  }

  /** Starts the clock, unless it runs already. */
  start(): void {
    if (this.#stop || this.#spent) return
    this.#begun = performance.now()
    this.#stop = after(Math.max(0, this.#left), () => {
      this.#spent = true
      this.stop()
      this.#onSpent()
    })
  }

  /** Stops the clock. May be called twice. */
  stop(): void {
    if (!this.#stop) return
    this.#stop()
    this.#stop = undefined
    const waited = performance.now() - this.#begun
    this.waitedMs += waited
    this.#left -= waited
  }

  /** Gives `ms` back for progress, up to the whole budget. */
  refill(ms: number): void {
    this.#left = Math.min(this.#most, this.#left + ms)
  }

  /** Waits for `work` with the clock running. */
  async wait<T>(work: Promise<T>): Promise<T> {
    this.start()
    try {
      return await work
    } finally {
      this.stop()
    }
  }
}
