/**
 * Who is let in to be answered: places for answers and for the tokens that they may take, shared by tenants. Whoever finds no room
 * waits a moment, and those who wait are let in tenant by tenant.
 */
import { type Config, severalTenants } from '../config.ts'
import { ApiError } from '../errors.ts'
import type { Caller } from './keys.ts'
import { Shares } from './shares.ts'

/** What a request will cost, estimated before any of it is computed. */
export interface Cost {
  readonly answers: number
  /** Prompts and answers together. */
  readonly tokens: number
}

interface Waiting {
  readonly caller: Caller
  readonly cost: Cost
  enter(): void
}

export class Admission {
  readonly #limits: Config['limits']
  readonly #several: boolean
  readonly #answers: Shares
  #tokens: Shares | undefined
  /** Answers of each key. */
  readonly #running = new Map<string, number>()
  /** By tenant, those who wait; tenants in the order in which they are next. */
  readonly #queues = new Map<string, Waiting[]>()
  #waiting = 0

  constructor(config: Config) {
    this.#limits = config.limits
    this.#several = severalTenants(config)
    const own = config.limits.concurrencyPerKey !== undefined
    this.#answers = new Shares(config.limits.concurrency, this.#several && !own)
  }

  /** Answers being made now. */
  get running(): number {
    return this.#answers.sum
  }

  /** Requests that wait for room. */
  get waiting(): number {
    return this.#waiting
  }

  /**
   * Waits for room, `waitSeconds` at most. Resolves with how to give it back, once. Rejects with an ApiError: 400 for what could never
   * have room, 429 of the key or its tenant, 503 of the server; and with the signal's reason.
   */
  async enter(caller: Caller, asked: Cost, context: number, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted()
    const { concurrency, tokens = concurrency * context } = this.#limits
    this.#tokens ??= new Shares(tokens, this.#several)
    const cost = { ...asked, tokens: Math.min(asked.tokens, this.#tokens.total) }
    if (cost.answers > concurrency)
      throw new ApiError(400, `${cost.answers} answers were asked for at once; this server makes ${concurrency}`, {
        code: 'invalid_value',
        param: 'n',
      })
    this.#checkKey(caller, cost.answers)
    if (!this.#fits(caller, cost)) await this.#wait(caller, cost, signal)
    else this.#add(caller, cost, 1)
    let inside = true
    return () => {
      if (!inside) return
      inside = false
      this.#add(caller, cost, -1)
      this.#serve()
    }
  }

  /** A limit that somebody has set is told at once. */
  #checkKey({ key }: Caller, answers: number): void {
    const { concurrencyPerKey } = this.#limits
    if (concurrencyPerKey === undefined) return
    const own = this.#running.get(key?.sha256 ?? '') ?? 0
    if (own + answers > concurrencyPerKey) throw perKey(own, concurrencyPerKey)
  }

  #fits({ tenant, key }: Caller, { answers, tokens }: Cost): boolean {
    const { concurrencyPerKey = Infinity } = this.#limits
    if ((this.#running.get(key?.sha256 ?? '') ?? 0) + answers > concurrencyPerKey) return false
    const room = this.#answers.fits(answers) && this.#tokens!.fits(tokens)
    return room && this.#answers.fair(tenant, answers) && this.#tokens!.fair(tenant, tokens)
  }

  #wait(caller: Caller, cost: Cost, signal: AbortSignal): Promise<void> {
    const { waitSeconds, waiting } = this.#limits
    const { tenant } = caller
    const queue = this.#queues.get(tenant) ?? []
    // The room to wait is shared, too: a tenant may fill half of it while others could come.
    if (this.#waiting >= waiting || (this.#several && queue.length >= Math.max(1, waiting >> 1)))
      return Promise.reject(this.#refusal(caller, cost))
    this.#queues.set(tenant, queue)
    this.#waiting++
    return new Promise((resolve, reject) => {
      const leave = (reason: unknown) => {
        over()
        queue.splice(queue.indexOf(entry), 1)
        if (queue.length === 0) this.#queues.delete(tenant)
        reject(reason)
        // A smaller one behind it may fit.
        this.#serve()
      }
      const gone = () => leave(signal.reason)
      const timer = setTimeout(() => leave(this.#refusal(caller, cost)), waitSeconds * 1000)
      const over = () => {
        this.#waiting--
        clearTimeout(timer)
        signal.removeEventListener('abort', gone)
      }
      const entry: Waiting = {
        caller,
        cost,
        enter() {
          over()
          resolve()
        },
      }
      queue.push(entry)
      signal.addEventListener('abort', gone, { once: true })
    })
  }

  /** Lets in who fits, one of each tenant in turn. */
  #serve(): void {
    for (let served = true; served; ) {
      served = false
      for (const [tenant, queue] of [...this.#queues]) {
        const first = queue[0]!
        if (!this.#fits(first.caller, first.cost)) continue
        queue.shift()
        this.#queues.delete(tenant)
        // Its next is behind all others now.
        if (queue.length > 0) this.#queues.set(tenant, queue)
        this.#add(first.caller, first.cost, 1)
        first.enter()
        served = true
      }
    }
  }

  #refusal({ tenant, key }: Caller, { answers, tokens }: Cost): ApiError {
    const all = this.#answers.sum
    if (this.#answers.fits(answers) && this.#tokens!.fits(tokens))
      return perKey(this.#running.get(key?.sha256 ?? '') ?? 0, this.#answers.heldBy(tenant))
    return new ApiError(503, `${all} answers are being made, of ${this.#answers.total} at once; try again`, {
      code: 'busy',
      retryAfter: 1,
    })
  }

  #add({ tenant, key }: Caller, { answers, tokens }: Cost, sign: 1 | -1): void {
    this.#answers.add(tenant, sign * answers)
    this.#tokens!.add(tenant, sign * tokens)
    const id = key?.sha256 ?? ''
    const own = (this.#running.get(id) ?? 0) + sign * answers
    if (own > 0) this.#running.set(id, own)
    else this.#running.delete(id)
  }
}

function perKey(own: number, most: number): ApiError {
  return new ApiError(429, `${own} answers are being made for this key, of ${most} at once; wait for one`, {
    code: 'concurrency_limit_exceeded',
    retryAfter: 1,
  })
}
