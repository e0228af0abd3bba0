/**
 * Timeouts for remote peers. A core that computes reads no answers meanwhile: a timer that fires late may find what it waits for already there, unread. So
 * it lets the host read first.
 */

/** A timer this late was held up by this core's own work. */
const heldUpMs = 20
const graceMs = 100

/** Calls `fire` once `ms` have passed in which answers could be read. Returns how to stop it. */
export function after(ms: number, fire: () => void): () => void {
  let due = performance.now() + ms
  let timer = setTimeout(check, ms)
  let graced = false
  return () => clearTimeout(timer)

  function check(): void {
    if (graced || performance.now() - due < heldUpMs) fire()
    else {
      graced = true
      due = performance.now() + graceMs
      timer = setTimeout(check, graceMs)
    }
  }
}

/**
 * How long a peer may keep us waiting in all. Its clock runs only while it is waited for, and progress gives time back: so a peer that is slow for once is
 * forgiven, and one that is always slower than it should be is given up, in however small pieces it sends.
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

  /** `onSpent` is called once, when `ms` have been waited that no progress gave back. */
  constructor(ms: number, onSpent: () => void) {
    this.#most = ms
    this.#left = ms
    this.#onSpent = onSpent
  }

  /** Whether the peer was given up. */
  get spent(): boolean {
    return this.#spent
  }

  /** Starts the clock, if it stands. */
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

  /** Progress was made: gives `ms` back, up to the whole budget. */
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
