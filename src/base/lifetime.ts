import { callAside } from './callback.ts'

/**
 * Owns what a request holds, and gives it all back when the request ends, however it ends.
 *
 * Code that takes something (a place, pages, a timer, a listener, a connection) registers here how
 * to give it back. The clean-ups run once, the latest first, whatever ends the lifetime: the last
 * event, an error, a caller that cancels, or an AbortSignal alone. They run even if nobody reads
 * on, unlike a `finally` in a generator.
 */
export class Lifetime {
  readonly #control = new AbortController()
  /** Clean-ups, in the order of registration. */
  readonly #held: (() => unknown)[] = []
  #over: Promise<void> | undefined

  /** Aborted when the lifetime ends, before its clean-ups run. */
  get signal(): AbortSignal {
    return this.#control.signal
  }

  /** True once `end` has been called. */
  get ended(): boolean {
    return this.#over !== undefined
  }

  /** Ends the lifetime when `signal` aborts. Stops listening to the signal at the end. */
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
   * Registers a clean-up; after the end, runs it at once. Returns a function that runs it earlier,
   * and does nothing when called twice or after the end. A clean-up may return a promise: those
   * registered before it wait for that.
   */
  hold(cleanUp: () => unknown): () => unknown {
    if (this.#over) {
      callAside(cleanUp)
      return () => {}
    }
    // A new function, so that one clean-up may be registered twice.
    const registered = () => cleanUp()
    this.#held.push(registered)
    return () => {
      const index = this.#held.lastIndexOf(registered)
      if (index < 0) return undefined
      this.#held.splice(index, 1)
      return cleanUp()
    }
  }

  /**
   * Gives everything back. When it returns, the clean-ups up to the first that returned a promise
   * have run. Resolves once all have run, for every caller. Rejects with what a clean-up threw,
   * after running the others; that rejection need not be handled.
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

  /**
   * Waits for `work`, but not beyond the end of the lifetime: rejects then with the signal's
   * reason. A value that `work` gives later is passed to `late`.
   */
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
    for (let cleanUp = this.#held.pop(); cleanUp; cleanUp = this.#held.pop())
      try {
        const done = cleanUp()
        // Waiting costs a turn of the microtask queue, so it is done for promises only.
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
