import { at } from './at.ts'
import { cancelled } from './cancelled.ts'
import { ForetokenError } from './errors.ts'
import type { Shares } from './shares.ts'
import { startTimer } from './timeout.ts'

export interface GateOptions {
  /** Stocks of which each admitted request holds an amount. Only the gate may change them. */
  readonly stocks: readonly Shares[]
  /** Maximum number of waiting requests; further ones are refused. Default: no limit. */
  readonly maxWaiting?: number
  /** Maximum number of waiting requests of one tenant. Default: no separate limit. */
  readonly maxWaitingPerTenant?: number
  /** Time after which a waiting request is refused, in milliseconds. Default: no limit. */
  readonly waitMs?: number
  /** Returns the error of a refused request. Default: a ForetokenError `busy`. */
  readonly busy?: (refusal: Refusal) => Error
  /**
   * Returns the error of a request whose signal aborted, from the signal's reason. Default: a
   * ForetokenError `aborted`.
   */
  readonly cancelled?: (reason: unknown) => unknown
}

export interface GateRequest {
  /** Tenant in whose queue the request waits. Default: one tenant for all. */
  readonly tenant?: string
  /** Amount of each stock, in the order of the stocks. Default: 1 of each. */
  readonly amounts?: readonly number[]
  /** Holder of each amount. Default: the tenant. */
  readonly holders?: readonly string[]
  /** Ends the wait. Has no effect once the request has been admitted. */
  readonly signal?: AbortSignal | undefined
}

/** Describes a request that was refused. */
export interface Refusal {
  /**
   * The limit that was exceeded: all waiting requests, those of the tenant, or the waiting time.
   */
  readonly scope: 'all' | 'tenant' | 'time'
  readonly request: GateRequest
  /** Number of admitted requests. */
  readonly running: number
  /** Number of other waiting requests. */
  readonly waiting: number
  /** Number of other waiting requests of the tenant. */
  readonly waitingOfTenant: number
}

interface Demand {
  readonly tenant: string
  readonly amounts: readonly number[]
  readonly holders: readonly string[]
}

interface Waiting {
  readonly demand: Demand
  enter(release: () => void): void
  fail(error: unknown): void
}

/**
 * Admits requests while the stocks have the amounts that they need; the others wait.
 *
 * Waiting tenants take turns: the oldest request of each enters before a second one of any. A
 * tenant whose oldest request does not fit is passed over. A new request that fits enters at once,
 * even if others wait; if all amounts are equal, its own tenant has none waiting then. The gate
 * takes the amounts when it admits a request, not when the caller resumes, so no amount is lost
 * however a wait ends (room, a signal, the time limit, `close`).
 */
export class Gate {
  readonly #options: GateOptions
  /** Queues by tenant, none of them empty; the tenant whose turn is next comes first. */
  readonly #lines = new Map<string, Waiting[]>()
  #waiting = 0
  #running = 0
  #closed: { readonly error: unknown } | undefined

  constructor(options: GateOptions) {
    this.#options = options
  }

  /** Number of admitted requests. */
  get running(): number {
    return this.#running
  }

  /** Number of waiting requests. */
  get waiting(): number {
    return this.#waiting
  }

  /**
   * Waits until the request is admitted. Resolves with a function that gives its amounts back;
   * further calls do nothing. Rejects with `busy` if too many requests wait or this one waited too
   * long, with `aborted` when its signal aborts, with the error given to `close`, and with
   * `bad_argument` for amounts that exceed a stock.
   */
  async enter(request: GateRequest = {}): Promise<() => void> {
    const { signal } = request
    if (this.#closed) throw this.#closed.error
    if (signal?.aborted) throw this.#cancelled(signal.reason)
    const demand = this.#demandOf(request)
    if (this.#fits(demand)) return this.#take(demand)
    this.#checkLine(request)
    return this.#wait(request, demand)
  }

  /** Runs `job` after `enter`, then releases. Rejects if either does. */
  async run<T>(request: GateRequest, job: () => Promise<T>): Promise<T> {
    const release = await this.enter(request)
    try {
      return await job()
    } finally {
      release()
    }
  }

  /** Throws `busy` if `enter` would refuse the request now. */
  check(request: GateRequest = {}): void {
    if (!this.#fits(this.#demandOf(request))) this.#checkLine(request)
  }

  /**
   * Rejects every waiting request, and every later `enter`, with `error`. Admitted requests go on.
   */
  close(error: unknown = new ForetokenError('aborted', 'the gate was closed')): void {
    this.#closed ??= { error }
    const all = [...this.#lines.values()].flat()
    for (const { fail } of all) fail(error)
  }

  #demandOf({ tenant = '', amounts, holders }: GateRequest): Demand {
    const { stocks } = this.#options
    const demand = {
      tenant,
      amounts: amounts ?? stocks.map(() => 1),
      holders: holders ?? stocks.map(() => tenant),
    }
    if (demand.amounts.length !== stocks.length || demand.holders.length !== stocks.length)
      throw new ForetokenError('bad_argument', `a request states an amount of each of the ${stocks.length} stocks`)
    for (const [index, { largest }] of stocks.entries()) {
      const amount = at(demand.amounts, index)
      if (!(amount >= 0 && amount <= largest))
        throw new ForetokenError(
          'bad_argument',
          `${amount} was requested of a stock that gives at most ${largest} at once`,
        )
    }
    return demand
  }

  #fits({ amounts, holders }: Demand): boolean {
    return this.#options.stocks.every((stock, index) => stock.fits(at(holders, index), at(amounts, index)))
  }

  #take({ amounts, holders }: Demand): () => void {
    const taken = this.#options.stocks.map((stock, index) => stock.take(at(holders, index), at(amounts, index)))
    this.#running++
    let inside = true
    return () => {
      if (!inside) return
      inside = false
      this.#running--
      for (const giveBack of taken) giveBack()
      this.#serve()
    }
  }

  #checkLine(request: GateRequest): void {
    const { maxWaiting = Number.POSITIVE_INFINITY, maxWaitingPerTenant = Number.POSITIVE_INFINITY } = this.#options
    if (this.#waiting >= maxWaiting) throw this.#refusal('all', request)
    if (this.#waitingOf(request) >= maxWaitingPerTenant) throw this.#refusal('tenant', request)
  }

  #wait(request: GateRequest, demand: Demand): Promise<() => void> {
    const { signal } = request
    return new Promise((resolve, reject) => {
      let stopTimer = () => {}
      const leave = () => {
        stopTimer()
        signal?.removeEventListener('abort', onAbort)
        this.#remove(waiting)
      }
      const waiting: Waiting = {
        demand,
        enter(release) {
          leave()
          resolve(release)
        },
        fail(error) {
          leave()
          reject(error)
        },
      }
      /** A smaller request that waits after this one may fit. */
      const failAndServe = (error: unknown) => {
        waiting.fail(error)
        this.#serve()
      }
      const onAbort = () => failAndServe(this.#cancelled(signal?.reason))
      this.#append(waiting)
      signal?.addEventListener('abort', onAbort, { once: true })
      const { waitMs } = this.#options
      if (waitMs !== undefined) stopTimer = startTimer(waitMs, () => failAndServe(this.#refusal('time', request)))
    })
  }

  #append(waiting: Waiting): void {
    const { tenant } = waiting.demand
    const line = this.#lines.get(tenant)
    if (line) line.push(waiting)
    else this.#lines.set(tenant, [waiting])
    this.#waiting++
  }

  #remove(waiting: Waiting): void {
    const { tenant } = waiting.demand
    const line = this.#lines.get(tenant)
    const index = line?.indexOf(waiting) ?? -1
    if (!line || index < 0) return
    line.splice(index, 1)
    this.#waiting--
    if (line.length === 0) this.#lines.delete(tenant)
  }

  /**
   * Admits the requests that fit, one of each tenant in a round. An admission never makes room for
   * another request, so the round need not start again after it.
   */
  #serve(): void {
    for (let served = true; served; ) {
      served = false
      for (const [tenant, line] of [...this.#lines]) {
        const first = at(line, 0)
        if (!this.#fits(first.demand)) continue
        first.enter(this.#take(first.demand))
        // The tenant's other requests wait for the turns of all other tenants.
        if (this.#lines.delete(tenant)) this.#lines.set(tenant, line)
        served = true
      }
    }
  }

  #waitingOf({ tenant = '' }: GateRequest): number {
    return this.#lines.get(tenant)?.length ?? 0
  }

  /** Returns the error of a refusal, or the error that the caller's function throws. */
  #refusal(scope: Refusal['scope'], request: GateRequest): unknown {
    const { busy = defaultBusy } = this.#options
    const [running, waiting, waitingOfTenant] = [this.#running, this.#waiting, this.#waitingOf(request)]
    const itself = scope === 'time' ? 1 : 0
    return resultOf(() =>
      busy({ scope, request, running, waiting: waiting - itself, waitingOfTenant: waitingOfTenant - itself }),
    )
  }

  #cancelled(reason: unknown): unknown {
    return resultOf(() => (this.#options.cancelled ?? cancelled)(reason))
  }
}

function defaultBusy({ running, waiting }: Refusal): ForetokenError {
  return new ForetokenError('busy', `${running} requests run and ${waiting} wait; try again when one has finished`)
}

/** Returns the value that `make` returns or throws. */
function resultOf(make: () => unknown): unknown {
  try {
    return make()
  } catch (error) {
    return error
  }
}
