/**
 * Keeps requests from a failing companion (a circuit breaker). It opens after a failure, lets one
 * request try now and then, and closes after a success.
 */

const firstMs = 1000
const longestMs = 60_000

export class Breaker {
  #failures = 0
  #until = 0
  #trying = false

  /**
   * `closed`: all requests may ask; `open`: none may; `half-open`: one may try. `now` is in
   * milliseconds.
   */
  state(now: number): 'closed' | 'open' | 'half-open' {
    if (this.#failures === 0) return 'closed'
    return now < this.#until || this.#trying ? 'open' : 'half-open'
  }

  /**
   * Admits a request; while it is half-open, one only. The caller must report how the request
   * ended. Returns false if the breaker is open.
   */
  enter(now: number): boolean {
    const state = this.state(now)
    if (state === 'half-open') this.#trying = true
    return state !== 'open'
  }

  succeeded(): void {
    this.#failures = 0
    this.#trying = false
  }

  /** Reports that a request ended early, without a failure of the companion. */
  left(): void {
    this.#trying = false
  }

  failed(now: number): void {
    this.#trying = false
    this.#until = now + Math.min(longestMs, firstMs * 2 ** this.#failures)
    this.#failures++
  }
}
