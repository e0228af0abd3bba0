import { asForetokenError, ForetokenError } from './errors.ts'

/**
 * A function of the caller that is notified of something. It may be async, but nothing waits for
 * it. What it throws, and what its promise rejects with, fails the work that it was called for: as
 * `bad_argument`, unless it is a ForetokenError. No rejection stays unhandled; one that comes after
 * the end of the work is dropped.
 */
export class Callback<A extends readonly unknown[]> {
  readonly #name: string
  readonly #callback: ((...args: A) => unknown) | undefined
  readonly #onRejected: (failure: ForetokenError) => void
  #failure: ForetokenError | undefined

  /** `onRejected` is called once, with the first rejection, for work that may not call again. */
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

  /**
   * Calls the function. Throws what it throws, or what the promise of an earlier call rejected
   * with.
   */
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
   * As `check`, at the end of the work: waits long enough for promises that were already rejected
   * when returned.
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
 * Calls a function whose failure must not fail anything else, such as a log or a late clean-up.
 * What it throws or rejects with goes to `failed`.
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
