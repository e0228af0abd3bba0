/** Orders requests by turns of their tenants, as the accounts of tenants say. */

import { at } from '../base/at.ts'
import { newcomer, type Standings } from './tenant-accounts.ts'

/** A request that takes turns. Requests without a tenant form one tenant. */
interface Claimant {
  readonly tenant?: string
}

interface Line<C> {
  readonly waiting: { readonly candidate: C; readonly place: number }[]
  readonly served: number
  /** Index of the next candidate in `waiting`. */
  next: number
  work: number
}

/**
 * Orders candidates: the next one belongs to the tenant with the least work, including the rows
 * this queue has charged, and within a tenant the order is kept. Among equals the tenant that was
 * not served for longest goes first, and then the earlier candidate, so that the candidates of one
 * tenant keep their order.
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
        lines.set(tenant, { waiting: [{ candidate, place }], next: 0, work, served })
      }
    })
    this.#lines = [...lines.values()]
  }

  /** Returns the next candidate, or undefined after the last. */
  next(): C | undefined {
    let best: Line<C> | undefined
    for (const line of this.#lines) {
      if (line.next === line.waiting.length) continue
      if (!best || (line.work - best.work || line.served - best.served || placeOf(line) - placeOf(best)) < 0)
        best = line
    }
    this.#last = best
    if (!best) return undefined
    const { candidate } = at(best.waiting, best.next)
    best.next++
    return candidate
  }

  /** Charges `rows` to the tenant of the candidate that `next` returned last. */
  charge(rows: number): void {
    if (this.#last) this.#last.work += rows
  }
}

function placeOf<C>({ waiting, next }: Line<C>): number {
  return at(waiting, next).place
}

/** Returns all candidates in turns, with one row charged for each. */
export function inTurns<C extends Claimant>(candidates: readonly C[], standings?: Standings): C[] {
  const queue = new TurnQueue(candidates, standings)
  const ordered: C[] = []
  for (let next = queue.next(); next; next = queue.next()) {
    ordered.push(next)
    queue.charge(1)
  }
  return ordered
}
