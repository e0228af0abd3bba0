import { callAside } from './callback.ts'

/**
 * Owns what a request holds, and gives it all back when the request ends, however it ends.
 *
 * Whoever takes something (a place, pages, a timer, a listener, a connection) registers with the lifetime how to give it back. The clean-ups run once, the
 * latest first, whoever ends the lifetime: the last event, an error, a caller who cancels, or an AbortSignal alone. Nobody has to read on for them to run,
 * which a `finally` in a generator would need.
 */
export class Lifetime {
  readonly #control = new AbortController()
  /** In the order of registration. */
  readonly #held: (() => unknown)[] = []
  #over: Promise<void> | undefined

  /** Aborted when the lifetime ends, before its clean-ups run. For the work that it pays for. */
  get signal(): AbortSignal {
    return this.#control.signal
  }

  get ended(): boolean {
    return this.#over !== undefined
  }

  /** Ends when `signal` aborts, and no longer listens to it afterwards. */
  follow(signal: AbortSignal | undefined): this {
    if (!signal) return this
    const end = () => void this.end(signal.reason)
    if (signal.aborted) end()
    else {
      signal.addEventListener('abort', end, { once: true })
      this.hold(() => signal.removeEventListener('abort', end))
    }
    return this
  }

  /**
   * Registers how to give something back; after the end that is done at once. Returns how to do it earlier; calling that twice, or after the end, does
   * nothing. A clean-up may return a promise: those registered before it wait for that.
   */
  hold(cleanUp: () => unknown): () => unknown {
    if (this.#over) {
      callAside(cleanUp)
      return () => {}
    }
    // A function of its own, so that one clean-up may be registered twice.
    const held = () => cleanUp()
    this.#held.push(held)
    return () => {
      const at = this.#held.lastIndexOf(held)
      if (at < 0) return undefined
      this.#held.splice(at, 1)
      return cleanUp()
    }
  }

  /**
   * Gives everything back. Clean-ups that are synchronous have run when it returns, as far as none before them returned a promise. Resolves once all
   * have run, for every caller; rejects with what they threw, after running the others. Nobody has to handle that.
   */
  end(reason?: unknown): Promise<void> {
    if (this.#over) return this.#over
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    promise.catch(() => {})
    this.#over = promise
    this.#control.abort(reason)
    void this.#cleanUp().then((errors) => {
      if (errors.length === 0) resolve()
      else reject(errors.length === 1 ? errors[0] : new AggregateError(errors, `${errors.length} clean-ups failed`))
    })
    return promise
  }

  /** Waits for `work`, but not beyond the end: rejects with the signal's reason then. What `work` gives later is passed to `late`. */
  until<T>(work: Promise<T>, late?: (value: T) => void): Promise<T> {
    return new Promise((resolve, reject) => {
      let waiting = true
      const release = this.hold(() => {
        waiting = false
        reject(this.signal.reason)
      })
      work.then(
        (value) => {
          if (!waiting) return late && callAside(() => late(value))
          resolve(value)
          release()
        },
        (error) => {
          reject(error)
          release()
        },
      )
    })
  }

  async #cleanUp(): Promise<unknown[]> {
    const errors: unknown[] = []
    for (let held = this.#held.pop(); held; held = this.#held.pop())
      try {
        const done = held()
        // Waiting costs a turn of the microtask queue: only for what takes time.
        if (isThenable(done)) await done
      } catch (error) {
        errors.push(error)
      }
    return errors
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as PromiseLike<unknown> | undefined)?.then === 'function'
}
