/**
 * Shares rows fairly among tenants whose requests compete for them.
 *
 * Each tenant has an account of the work that passes did for it, in rows. Rows go first to the
 * tenant with the least work. The floor is the least work of a tenant that still waits for rows; a
 * tenant that does not wait is owed nothing, and is raised to the floor (start-time fair queueing:
 * Goyal, Vin and Cheng, 1996). So a tenant saves up no turns while it is idle or away, while work
 * beyond the floor, a debt, is remembered during its absence.
 */

/** A tenant's position in the queue. */
export interface Standing {
  /** Rows that passes ran for it. */
  readonly work: number
  /**
   * Number of the last plan that gave it rows; -1 if none has since it was last below the floor.
   */
  readonly served: number
}

/** Returns where a tenant stands; an unknown tenant stands at 0. */
export type Standings = (tenant: string) => Standing

interface Account {
  work: number
  served: number
  /** The last plan that found requests of it. */
  seen: number
}

/** Number of plans for which a tenant without requests is remembered. */
const keptPlans = 256
/** Most tenants without requests that are remembered. */
const keptTenants = 256

/** Where a tenant stands that has had nothing. */
export const newcomer: Standing = { work: 0, served: -1 }

/** The accounts of tenants that have requests now or had some recently. */
export class TenantAccounts {
  /** Ordered by when the tenant last had requests, the most recent last. */
  readonly #accounts = new Map<string, Account>()
  readonly #mostDebt: number
  #present: ReadonlySet<string> = new Set()
  #floor = 0
  #plan = 0

  /** `mostDebt` rows limit a debt, and so how long a tenant can be put last. */
  constructor(mostDebt: number) {
    this.#mostDebt = mostDebt
  }

  /**
   * Begins a plan for requests of `tenants`. A new tenant starts at the floor, and one that returns
   * at its debt or at the floor.
   */
  beginPlan(tenants: ReadonlySet<string>): void {
    this.#plan++
    for (const tenant of tenants) {
      const account = this.#accounts.get(tenant) ?? { ...newcomer, seen: 0 }
      if (!this.#present.has(tenant)) this.#lift(account)
      account.work = Math.min(account.work, this.#floor + this.#mostDebt)
      account.seen = this.#plan
      this.#accounts.delete(tenant)
      this.#accounts.set(tenant, account)
    }
    this.#present = tenants
    for (const [tenant, { seen }] of this.#accounts) {
      const away = this.#accounts.size - tenants.size
      if (seen === this.#plan || (away <= keptTenants && this.#plan - seen <= keptPlans)) break
      this.#accounts.delete(tenant)
    }
  }

  /** Number of tenants that have requests or are remembered. */
  get tenants(): number {
    return this.#accounts.size
  }

  readonly standingOf: Standings = (tenant) => this.#accounts.get(tenant) ?? newcomer

  charge(tenant: string, rows: number): void {
    const account = this.#accounts.get(tenant)
    if (!account) return
    account.work += rows
    account.served = this.#plan
  }

  /** Ends a plan. `waiting` are the tenants that could have used more rows. */
  endPlan(waiting: ReadonlySet<string>): void {
    const works = (tenants: ReadonlySet<string>) => Array.from(tenants, (tenant) => this.standingOf(tenant).work)
    const floor = waiting.size > 0 ? leastOf(works(waiting)) : mostOf(works(this.#present))
    this.#floor = Math.max(this.#floor, floor)
    for (const tenant of this.#present) {
      const account = this.#accounts.get(tenant)
      if (account && !waiting.has(tenant)) this.#lift(account)
    }
  }

  /**
   * Raises an account to the floor. A tenant that was below it has had less than others, and goes
   * first among equals.
   */
  #lift(account: Account): void {
    if (account.work >= this.#floor) return
    account.work = this.#floor
    account.served = newcomer.served
  }
}

function leastOf(values: readonly number[]): number {
  return values.reduce((least, value) => Math.min(least, value), Number.POSITIVE_INFINITY)
}

function mostOf(values: readonly number[]): number {
  return values.reduce((most, value) => Math.max(most, value), 0)
}
