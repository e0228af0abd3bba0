/** Places that are given in the order of asking: so many at once, and so many who may wait for one. */
import { ForetokenError } from '../base/errors.ts'
import { throwIfAborted } from '../base/turn.ts'

export class Places {
  readonly #most: number
  readonly #mostWaiting: number
  readonly #waiting: (() => void)[] = []
  #taken = 0

  constructor(most: number, mostWaiting = Number.POSITIVE_INFINITY) {
    this.#most = most
    this.#mostWaiting = mostWaiting
  }

  get taken(): number {
    return this.#taken
  }

  get waiting(): number {
    return this.#waiting.length
  }

  /** Throws `busy` where one more would be. */
  check(): void {
    if (this.#taken === this.#most && this.#waiting.length >= this.#mostWaiting)
      throw new ForetokenError(
        'busy',
        `${this.#taken} requests run and ${this.waiting} wait; try again when one has finished`,
      )
  }

  /** Waits for a place; resolves with how to give it back, once. Rejects with `aborted`, and with `busy` where too many wait. */
  async take(signal?: AbortSignal): Promise<() => void> {
    throwIfAborted(signal)
    this.check()
    if (this.#taken < this.#most) this.#taken++
    else await this.#wait(signal)
    let given = false
    return () => {
      if (!given) this.#give()
      given = true
    }
  }

  #wait(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        this.#waiting.splice(this.#waiting.indexOf(enter), 1)
        reject(new ForetokenError('aborted', 'the request was cancelled', { cause: signal!.reason }))
      }
      const enter = () => {
        signal?.removeEventListener('abort', leave)
        resolve()
      }
      this.#waiting.push(enter)
      signal?.addEventListener('abort', leave, { once: true })
    })
  }

  /** To whoever has waited longest, or to nobody. */
  #give(): void {
    const next = this.#waiting.shift()
    if (next) next()
    else this.#taken--
  }
}
