import { ForetokenError } from './errors.ts'

/**
 * Limits how much a holder may add to the amount that it already holds. Under each rule a holder of
 * nothing may take everything that is free, so a newcomer never waits for the rule.
 *
 * - `all`: everything that is free.
 * - `half`: as long as its new amount is not larger than what then remains free. A single holder
 *   gets half of the stock; two get a third each.
 * - `past-half`: as long as its new amount is not larger than what was free before. The last amount
 *   may cross the half, which matters if amounts are large compared with the stock.
 */
export type Sharing = 'all' | 'half' | 'past-half'

/**
 * Shares a stock of a fixed size, such as places or bytes, among holders that take amounts and give
 * them back. An amount can't be revoked, so the rules keep a part free for newcomers (dynamic
 * thresholds; A. Choudhury and E. Hahne, 1998).
 */
export class Shares {
  /** Size of the stock. May be Infinity; the stock then only counts. */
  readonly total: number
  readonly #sharing: Sharing
  readonly #maxEach: number
  readonly #held = new Map<string, number>()
  #used = 0

  /**
   * `maxEach` limits the amount of one holder, even if more is free. Throws `bad_argument` for
   * sizes below 0.
   */
  constructor(total: number, sharing: Sharing = 'all', maxEach = Number.POSITIVE_INFINITY) {
    if (!(total >= 0) || !(maxEach >= 0))
      throw new ForetokenError('bad_argument', `a stock of ${total}, ${maxEach} of it for each, can't be shared`)
    this.total = total
    this.#sharing = sharing
    this.#maxEach = maxEach
  }

  /** The sum of the amounts of all holders. */
  get used(): number {
    return this.#used
  }

  /** The largest amount that can ever be taken at once. */
  get largest(): number {
    return Math.min(this.total, this.#maxEach)
  }

  /** Returns the amount that `holder` has. */
  heldBy(holder: string): number {
    return this.#held.get(holder) ?? 0
  }

  /** Returns true if `amount` is free, counting also a `reserve` beyond the total. */
  hasRoom(amount: number, reserve = 0): boolean {
    return this.#used + amount <= this.total + reserve
  }

  /** Returns true if the rule and the limit allow `holder` another `amount`. */
  isFair(holder: string, amount: number): boolean {
    const held = this.heldBy(holder)
    if (held + amount > this.#maxEach) return false
    if (this.#sharing === 'all' || held === 0) return true
    const free = this.total - this.#used
    return held + amount <= (this.#sharing === 'half' ? free - amount : free)
  }

  /** Returns true if `holder` may take `amount` now. */
  fits(holder: string, amount = 1): boolean {
    return this.hasRoom(amount) && this.isFair(holder, amount)
  }

  /** Takes `amount`, whether it fits or not. Returns a function that gives it back, once. */
  take(holder: string, amount = 1): () => void {
    this.add(holder, amount)
    let taken = true
    return () => {
      if (taken) this.add(holder, -amount)
      taken = false
    }
  }

  /** Adds `amount` to the amount of `holder`; a negative one is given back. */
  add(holder: string, amount: number): void {
    this.#used += amount
    const held = this.heldBy(holder) + amount
    if (held > 0) this.#held.set(holder, held)
    else this.#held.delete(holder)
  }
}
