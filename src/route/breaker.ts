/** Keeps requests from a companion that fails: open after a failure, tried by one request now and then, closed by a success. */

const firstMs = 1000
const longestMs = 60_000

export class Breaker {
  #failures = 0
  #until = 0
  #trying = false

  /** `closed`: all may ask; `open`: nobody; `half-open`: one may try. */
  state(now: number): 'closed' | 'open' | 'half-open' {
    if (this.#failures === 0) return 'closed'
    return now < this.#until || this.#trying ? 'open' : 'half-open'
  }

  /** Takes a place; where it is half-open, the only one. Whoever takes one tells how it went. False where it is open. */
  enter(now: number): boolean {
    const state = this.state(now)
    if (state === 'half-open') this.#trying = true
    return state !== 'open'
  }

  succeeded(): void {
    this.#failures = 0
    this.#trying = false
  }

  /** It was not asked to the end, through nobody's fault. */
  left(): void {
    this.#trying = false
  }

  failed(now: number): void {
    this.#trying = false
    this.#until = now + Math.min(longestMs, firstMs * 2 ** this.#failures)
    this.#failures++
  }
}
