/**
 * Whose turn it is where requests of several tenants want the same rows.
 *
 * Each tenant has an account of the work that passes did for it, in rows. Rows go first to the tenant with the least work. The floor is
 * the least work of a tenant that still waits for rows; whoever does not wait is owed nothing, and stands at the floor or above it
 * (start-time fair queueing: Goyal, Vin and Cheng, 1996). So neither idleness nor absence saves up turns, and work beyond the floor, a
 * debt, is remembered while its tenant is away.
 */

/** A request that takes turns; without a tenant it belongs to everybody's. */
interface Claimant {
  readonly tenant?: string
}

/** Where a tenant stands. */
export interface Standing {
  /** Rows that passes ran for it. */
  readonly work: number
  /** The plan that last gave it rows; -1: none since it last stood below the floor. */
  readonly served: number
}

export type Standings = (tenant: string) => Standing

interface Account {
  work: number
  served: number
  /** The last plan that found requests of it. */
  seen: number
}

/** A tenant without requests is remembered for so many plans. */
const keptPlans = 256
/** Tenants without requests that are remembered, at most. */
const keptTenants = 256

const newcomer: Standing = { work: 0, served: -1 }

/** The accounts of tenants that have requests, or had some a short while ago. */
export class Turns {
  /** Whoever had requests last stands last. */
  readonly #accounts = new Map<string, Account>()
  readonly #mostDebt: number
  #present: ReadonlySet<string> = new Set()
  #floor = 0
  #plan = 0

  /** A debt never grows beyond `mostDebt` rows: that long, at most, others go first. */
  constructor(mostDebt: number) {
    this.#mostDebt = mostDebt
  }

  /** Begins a plan for requests of `tenants`. A newcomer stands at the floor, and one that returns at its debt or the floor. */
  enter(tenants: ReadonlySet<string>): void {
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

  /** Tenants that have requests, or are remembered. */
  get tenants(): number {
    return this.#accounts.size
  }

  readonly of: Standings = (tenant) => this.#accounts.get(tenant) ?? newcomer

  charge(tenant: string, rows: number): void {
    const account = this.#accounts.get(tenant)
    if (!account) return
    account.work += rows
    account.served = this.#plan
  }

  /** Ends a plan. `waiting` are the tenants that could have used more rows. */
  settle(waiting: ReadonlySet<string>): void {
    const works = (some: ReadonlySet<string>) => Array.from(some, (tenant) => this.of(tenant).work)
    const floor = waiting.size > 0 ? leastOf(works(waiting)) : mostOf(works(this.#present))
    this.#floor = Math.max(this.#floor, floor)
    for (const tenant of this.#present) {
      if (!waiting.has(tenant)) this.#lift(this.#accounts.get(tenant)!)
    }
  }

  /** Brings an account to the floor. Whoever stood below it has had less than others, and goes first among equals. */
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

interface Line<C> {
  readonly waiting: { readonly candidate: C; readonly place: number }[]
  readonly served: number
  at: number
  work: number
}

/**
 * Candidates one after the other: the next is of the tenant with the least work, this queue's own rows included, and within a tenant
 * the order is as it was. Among equals goes first whose tenant was not served for longest, and then the earlier candidate, so that the
 * candidates of one tenant keep their order.
 */
export class TurnQueue<C extends Claimant> {
  readonly #lines: Line<C>[]
  #last: Line<C> | undefined

  constructor(candidates: readonly C[], standings: Standings = () => newcomer) {
    const lines = new Map<string, Line<C>>()
    candidates.forEach((candidate, place) => {
      const { tenant = '' } = candidate
      const line = lines.get(tenant)
      if (line) line.waiting.push({ candidate, place })
      else {
        const { work, served } = standings(tenant)
        lines.set(tenant, { waiting: [{ candidate, place }], at: 0, work, served })
      }
    })
    this.#lines = [...lines.values()]
  }

  /** Undefined behind the last. */
  next(): C | undefined {
    let best: Line<C> | undefined
    for (const line of this.#lines) {
      if (line.at === line.waiting.length) continue
      if (!best || (line.work - best.work || line.served - best.served || placeOf(line) - placeOf(best)) < 0)
        best = line
    }
    this.#last = best
    if (!best) return undefined
    const { candidate } = best.waiting[best.at]!
    best.at++
    return candidate
  }

  /** Says that the candidate that came last was given `rows`. */
  charge(rows: number): void {
    if (this.#last) this.#last.work += rows
  }
}

function placeOf<C>({ waiting, at }: Line<C>): number {
  return waiting[at]!.place
}

/** All candidates in turns, each being given one row. */
export function inTurns<C extends Claimant>(candidates: readonly C[], standings?: Standings): C[] {
  const queue = new TurnQueue(candidates, standings)
  const ordered: C[] = []
  for (let next = queue.next(); next; next = queue.next()) {
    ordered.push(next)
    queue.charge(1)
  }
  return ordered
}
