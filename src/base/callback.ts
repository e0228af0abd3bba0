import { asForetokenError, ForetokenError } from './errors.ts'

/**
 * Calls a caller's function to report progress or state. The function may be async, but the work
 * does not wait for it. If it throws or its promise rejects, the work that it was called for fails:
 * with that error if it is a ForetokenError, otherwise with `bad_argument`. No rejection stays
 * unhandled; one that arrives after the work has ended is dropped.
 */
export class Callback<A extends readonly unknown[]> {
  readonly #name: string
  readonly #callback: ((...args: A) => unknown) | undefined
  readonly #onRejected: (failure: ForetokenError) => void
  #failure: ForetokenError | undefined

  /** `onRejected` is called once, with the first rejection, since the work may never call again. */
  constructor(
    name: string,
    callback: ((...args: A) => unknown) | undefined,
    onRejected: (failure: ForetokenError) => void = () => {},
  ) {
    if (callback !== undefined && callback !== null && typeof callback !== 'function')
      throw new ForetokenError('bad_argument', `${name} must be a function`)
    this.#name = name
    this.#callback = callback ?? undefined
    this.#onRejected = onRejected
  }

  /** The first failure; undefined while there is none. */
  get failure(): ForetokenError | undefined {
    return this.#failure
  }

  /** Calls the function. Throws its error, or that of an earlier call whose promise rejected. */
  readonly call = (...args: A): void => {
    this.check()
    try {
      const returned = this.#callback?.(...args)
      if (isObject(returned)) void Promise.resolve(returned).catch((error) => this.#rejected(error))
    } catch (error) {
      this.#failure ??= this.#asFailure(error)
      throw this.#failure
    }
  }

  /** Throws the failure of an earlier call, if there was one. */
  check(): void {
    if (this.#failure) throw this.#failure
  }

  /**
   * Does the same as `check` at the end of the work, after waiting long enough to see promises that
   * were already rejected when they were returned.
   */
  async settle(): Promise<void> {
    // A native promise takes one turn of the microtask queue, any other thenable three.
    for (let turn = 0; turn < 4; turn++) await undefined
    this.check()
  }

  #rejected(error: unknown): void {
    if (this.#failure) return
    this.#failure = this.#asFailure(error)
    this.#onRejected(this.#failure)
  }

  #asFailure(error: unknown): ForetokenError {
    return asForetokenError(error, 'bad_argument', `${this.#name} failed`)
  }
}

/**
 * Calls a function whose failure must not fail other work, such as a log or a late clean-up. Passes
 * its error, thrown or rejected, to `failed`.
 */
export function callAside(callback: () => unknown, failed: (error: unknown) => void = () => {}): void {
  const aside = new Callback('', callback, (failure) => failed(failure.cause ?? failure))
  try {
    aside.call()
  } catch (error) {
    failed((error as ForetokenError).cause ?? error)
  }
}

function isObject(value: unknown): boolean {
  return (typeof value === 'object' && value !== null) || typeof value === 'function'
}
