/**
 * Admits requests for answers. Answers, and the tokens that they may take, are two stocks that
 * tenants share; a request that finds no room waits a moment.
 */
import { Gate, type Refusal, Shares } from '../../src/index.ts'
import { type Config, severalTenants } from '../config.ts'
import { ApiError } from '../errors.ts'
import type { Caller } from './keys.ts'

/** What a request will cost, estimated before any of it is computed. */
export interface Cost {
  readonly answers: number
  /** Tokens of prompts and answers together. */
  readonly tokens: number
}

/**
 * A full context in the unit of the stock of tokens, unless `limits.tokens` sets it: models differ
 * in their contexts, and a request counts by its share of one.
 */
const fullContext = 2 ** 20

export class Admission {
  readonly #limits: Config['limits']
  readonly #several: boolean
  readonly #answers: Shares
  /** Answers by key. */
  readonly #answersOfKeys: Shares
  readonly #tokens: Shares
  readonly #gate: Gate

  constructor(config: Config) {
    const { concurrency, concurrencyPerKey } = config.limits
    this.#limits = config.limits
    this.#several = severalTenants(config)
    const bounded = concurrencyPerKey !== undefined
    this.#answers = new Shares(concurrency, this.#several && !bounded ? 'half' : 'all')
    this.#answersOfKeys = new Shares(Number.POSITIVE_INFINITY, 'all', concurrencyPerKey)
    this.#tokens = new Shares(config.limits.tokens ?? concurrency * fullContext, this.#several ? 'half' : 'all')
    this.#gate = this.#opened()
  }

  /** Answers being generated. */
  get running(): number {
    return this.#answers.used
  }

  /** Requests that wait for room. */
  get waiting(): number {
    return this.#gate.waiting
  }

  /**
   * Waits for room, `waitSeconds` at most. Resolves with a function that gives it back, once.
   * `context` is the model's, in tokens. Rejects with an ApiError (400 for a request that can never
   * fit, 429 for limits of the key or its tenant, 503 for those of the server) and with the
   * signal's reason.
   */
  async enter(caller: Caller, cost: Cost, context: number, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted()
    const { concurrency } = this.#limits
    if (cost.answers > concurrency)
      throw new ApiError(
        400,
        `n: ${cost.answers} answers were requested; this server generates ${concurrency} at once`,
        {
          code: 'invalid_value',
          param: 'n',
        },
      )
    const { tenant } = caller
    const key = caller.key?.sha256 ?? ''
    // A configured limit of keys refuses at once.
    if (!this.#answersOfKeys.isFair(key, cost.answers)) throw this.#refusalOfKey(key, this.#limits.concurrencyPerKey)
    const tokens = this.#limits.tokens === undefined ? Math.ceil((cost.tokens / context) * fullContext) : cost.tokens
    return this.#gate.enter({
      tenant,
      amounts: [cost.answers, Math.min(tokens, this.#tokens.total), cost.answers],
      holders: [tenant, tenant, key],
      signal,
    })
  }

  #opened(): Gate {
    const { waiting, waitSeconds } = this.#limits
    return new Gate({
      stocks: [this.#answers, this.#tokens, this.#answersOfKeys],
      maxWaiting: waiting,
      // Tenants also share the places to wait.
      ...(this.#several && { maxWaitingPerTenant: Math.max(1, waiting >> 1) }),
      waitMs: waitSeconds * 1000,
      busy: (refusal) => this.#refusal(refusal),
      cancelled: (reason) => reason,
    })
  }

  /**
   * If only other tenants may use the remaining room, the limit is the tenant's; if there is none
   * at all, it is the server's.
   */
  #refusal({ request }: Refusal): ApiError {
    const { tenant = '', amounts: [answers = 0, tokensAsked = 0] = [], holders: [, , key = ''] = [] } = request
    if (this.#answers.hasRoom(answers) && this.#tokens.hasRoom(tokensAsked))
      return this.#refusalOfKey(key, this.#answers.heldBy(tenant))
    const { used, total } = this.#answers
    return new ApiError(503, `${used} answers are being generated, of ${total} at once; try again`, {
      code: 'busy',
      retryAfter: 1,
    })
  }

  #refusalOfKey(key: string, limit: number | undefined): ApiError {
    const held = this.#answersOfKeys.heldBy(key)
    return new ApiError(429, `${held} answers are being generated for this key, of ${limit} at once; wait for one`, {
      code: 'concurrency_limit_exceeded',
      retryAfter: 1,
    })
  }
}
