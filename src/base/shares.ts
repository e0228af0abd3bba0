import { ForetokenError } from './errors.ts'

/**
 * How much one holder may add to what it already holds. A holder of nothing may take whatever is
 * free under each rule, so that a newcomer never waits for the rule.
 *
 * - `all`: whatever is free.
 * - `half`: while it then holds no more than is left free. One holder alone gets half of the stock,
 *   two get a third each.
 * - `past-half`: while it then holds no more than was free before. The last amount may cross the
 *   half, which matters for amounts that are large beside the stock.
 */
export type Sharing = 'all' | 'half' | 'past-half'

/**
 * A stock of a fixed size, such as places or bytes, that holders take from and give back to. What
 * is taken can't be revoked, so the rules of sharing keep a part free for newcomers (dynamic
 * thresholds; A. Choudhury and E. Hahne, 1998).
 */
export class Shares {
  /** Size of the stock. May be Infinity, to count what holders have. */
  readonly total: number
  readonly #sharing: Sharing
  readonly #maxEach: number
  readonly #held = new Map<string, number>()
  #used = 0

  /**
   * `maxEach` bounds what one holder has, whatever is free. Throws `bad_argument` for sizes below
   * 0.
   */
  constructor(total: number, sharing: Sharing = 'all', maxEach = Number.POSITIVE_INFINITY) {
    if (!(total >= 0) || !(maxEach >= 0))
      throw new ForetokenError('bad_argument', `a stock of ${total}, ${maxEach} of it for each, can't be shared`)
    this.total = total
    this.#sharing = sharing
    this.#maxEach = maxEach
  }

  /** What all holders have. */
  get used(): number {
    return this.#used
  }

  /** The largest amount that can ever be taken at once. */
  get largest(): number {
    return Math.min(this.total, this.#maxEach)
  }

  /** Returns what `holder` has. */
  heldBy(holder: string): number {
    return this.#held.get(holder) ?? 0
  }

  /** Returns true if `amount` is free, counting `reserve` beyond the total as free, too. */
  hasRoom(amount: number, reserve = 0): boolean {
    return this.#used + amount <= this.total + reserve
  }

  /** Returns true if the rule and the bound let `holder` have `amount` more, beside others. */
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

  /** Adds `amount` to what `holder` has, or gives it back where it is negative. */
  add(holder: string, amount: number): void {
    this.#used += amount
    const held = this.heldBy(holder) + amount
    if (held > 0) this.#held.set(holder, held)
    else this.#held.delete(holder)
  }
}
