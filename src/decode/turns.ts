/** Whose turn it is where requests of several tenants want the same rows. */

/** A request that takes turns; without a tenant it belongs to everybody's. */
interface Claimant {
  readonly tenant?: string
}

/** Rows that each tenant has been given. */
export type Given = (tenant: string) => number

/** Counts the rows that each tenant is given while it has requests. */
export class Turns {
  readonly #given = new Map<string, number>()

  /**
   * Says who has requests now. The count of everybody else is dropped, so that the table holds no more than the requests do; a
   * newcomer begins level with the tenant that has had least: being away saves up no turns.
   */
  enter(tenants: ReadonlySet<string>): void {
    for (const tenant of this.#given.keys()) if (!tenants.has(tenant)) this.#given.delete(tenant)
    let least = Number.POSITIVE_INFINITY
    for (const rows of this.#given.values()) least = Math.min(least, rows)
    if (least === Number.POSITIVE_INFINITY) least = 0
    for (const tenant of tenants) this.#given.set(tenant, (this.#given.get(tenant) ?? least) - least)
  }

  /** Tenants in the table. */
  get tenants(): number {
    return this.#given.size
  }

  readonly given: Given = (tenant) => this.#given.get(tenant) ?? 0

  charge(tenant: string, rows: number): void {
    this.#given.set(tenant, this.given(tenant) + rows)
  }
}

interface Line<C> {
  readonly tenant: string
  readonly waiting: { readonly candidate: C; readonly place: number }[]
  at: number
  given: number
}

/**
 * Candidates one after the other: the next is of the tenant that has been given least, this queue's own rows included, and within a
 * tenant the order is as it was. Among equals the earlier candidate is next, so that the candidates of one tenant keep their order.
 */
export class TurnQueue<C extends Claimant> {
  readonly #lines: Line<C>[]
  #last: Line<C> | undefined

  constructor(candidates: readonly C[], given: Given = () => 0) {
    const lines = new Map<string, Line<C>>()
    candidates.forEach((candidate, place) => {
      const { tenant = '' } = candidate
      const line = lines.get(tenant)
      if (line) line.waiting.push({ candidate, place })
      else lines.set(tenant, { tenant, waiting: [{ candidate, place }], at: 0, given: given(tenant) })
    })
    this.#lines = [...lines.values()]
  }

  /** Undefined behind the last. */
  next(): C | undefined {
    let best: Line<C> | undefined
    for (const line of this.#lines) {
      if (line.at === line.waiting.length) continue
      const sooner = line.given - (best?.given ?? Number.POSITIVE_INFINITY)
      if (sooner < 0 || (sooner === 0 && placeOf(line) < placeOf(best!))) best = line
    }
    this.#last = best
    if (!best) return undefined
    const { candidate } = best.waiting[best.at]!
    best.at++
    return candidate
  }

  /** Says that the candidate that came last was given `rows`. */
  charge(rows: number): void {
    if (this.#last) this.#last.given += rows
  }
}

function placeOf<C>({ waiting, at }: Line<C>): number {
  return waiting[at]!.place
}

/** All candidates in turns, each being given one row. */
export function inTurns<C extends Claimant>(candidates: readonly C[], given?: Given): C[] {
  const queue = new TurnQueue(candidates, given)
  const ordered: C[] = []
  for (let next = queue.next(); next; next = queue.next()) {
    ordered.push(next)
    queue.charge(1)
  }
  return ordered
}
