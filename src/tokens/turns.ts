/** One job at a time, tenants in turn: whoever brings many waits behind their own. */
import { ForetokenError } from '../base/errors.ts'

export interface TurnsOptions {
  /** Jobs that may wait, in all and of one tenant; one more is refused as `busy`. */
  readonly maxWaiting: number
  readonly maxOfTenant: number
}

interface Waiting {
  start(): void
  fail(error: ForetokenError): void
}

export class Turns {
  readonly #options: TurnsOptions
  /** By tenant, the next to be served first. */
  readonly #waiting = new Map<string, Waiting[]>()
  #count = 0
  #taken = false
  #closed = false

  constructor(options: TurnsOptions) {
    this.#options = options
  }

  /** Runs `job` when its turn has come. Rejects with `busy`, and with `aborted` while it waits. */
  async run<T>(tenant: string, signal: AbortSignal | undefined, job: () => Promise<T>): Promise<T> {
    await this.#turn(tenant, signal)
    try {
      return await job()
    } finally {
      this.#next()
    }
  }

  /** Ends all that wait as `aborted`. */
  close(): void {
    this.#closed = true
    const all = [...this.#waiting.values()].flat()
    this.#waiting.clear()
    this.#count = 0
    for (const { fail } of all) fail(new ForetokenError('aborted', 'the engine was closed'))
  }

  #turn(tenant: string, signal: AbortSignal | undefined): Promise<void> {
    if (this.#closed) throw new ForetokenError('aborted', 'the engine was closed')
    if (signal?.aborted) throw aborted(signal)
    if (!this.#taken) {
      this.#taken = true
      return Promise.resolve()
    }
    const { maxWaiting, maxOfTenant } = this.#options
    const own = this.#waiting.get(tenant) ?? []
    if (this.#count >= maxWaiting || own.length >= maxOfTenant)
      throw new ForetokenError(
        'busy',
        `${own.length} long prompts of this caller and ${this.#count} in all wait to be tokenized; try again later`,
      )
    const turn = Promise.withResolvers<void>()
    const onAbort = () => {
      this.#remove(tenant, waiting)
      waiting.fail(aborted(signal!))
    }
    const waiting: Waiting = {
      start: () => {
        signal?.removeEventListener('abort', onAbort)
        turn.resolve()
      },
      fail: (error) => {
        signal?.removeEventListener('abort', onAbort)
        turn.reject(error)
      },
    }
    own.push(waiting)
    this.#waiting.set(tenant, own)
    this.#count++
    signal?.addEventListener('abort', onAbort)
    return turn.promise
  }

  #remove(tenant: string, waiting: Waiting): void {
    const own = this.#waiting.get(tenant)
    const at = own?.indexOf(waiting) ?? -1
    if (!own || at < 0) return
    own.splice(at, 1)
    this.#count--
    if (own.length === 0) this.#waiting.delete(tenant)
  }

  #next(): void {
    const [first] = this.#waiting
    if (!first) {
      this.#taken = false
      return
    }
    const [tenant, own] = first
    const waiting = own[0]!
    this.#remove(tenant, waiting)
    // The tenant's others go behind everybody else's.
    if (this.#waiting.delete(tenant)) this.#waiting.set(tenant, own)
    waiting.start()
  }
}

function aborted(signal: AbortSignal): ForetokenError {
  return new ForetokenError('aborted', 'the request was cancelled', { cause: signal.reason })
}
