import { asForetokenError, ForetokenError } from './errors.ts'

/**
 * A function that a caller handed in to be told something. It may be async, and nobody waits for it: what it throws and what its promise
 * rejects with both fail the work that it was called for, as `bad_argument` unless it is a ForetokenError. Nothing of it is ever left
 * unhandled; a rejection that comes once the work is over is dropped.
 */
export class Callback<A extends readonly unknown[]> {
  readonly #name: string
  readonly #callback: ((...args: A) => unknown) | undefined
  readonly #onRejected: (failure: ForetokenError) => void
  #failure: ForetokenError | undefined

  /** `onRejected` is called once, where the first rejection must end work that does not call again. */
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

  /** Why it failed, the first time. */
  get failure(): ForetokenError | undefined {
    return this.#failure
  }

  /** Calls it. Throws what it throws, or what an earlier call's promise rejected with. */
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

  /** Throws what a call has failed with so far. */
  check(): void {
    if (this.#failure) throw this.#failure
  }

  /** The same at the end of the work: a promise that was rejected when it was returned is known by then. */
  async settle(): Promise<void> {
    // A promise of the host's takes one turn of the microtask queue, any other thenable three.
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

/** Calls a function whose failure is nobody's: a log's, or a clean-up's behind the end. What it throws or rejects with goes to `failed`. */
export function callAside(callback: () => unknown, failed: (error: unknown) => void = () => {}): void {
  const noted = new Callback('', callback, (failure) => failed(failure.cause ?? failure))
  try {
    noted.call()
  } catch (error) {
    failed((error as ForetokenError).cause ?? error)
  }
}

function isObject(value: unknown): boolean {
  return (typeof value === 'object' && value !== null) || typeof value === 'function'
}
