/** A stock that tenants share, such as bytes or places. */

export class Shares {
  readonly total: number
  readonly #several: boolean
  readonly #held = new Map<string, number>()
  #sum = 0

  /** `several`: whether there is more than one tenant to leave room for. */
  constructor(total: number, several: boolean) {
    this.total = total
    this.#several = several
  }

  /** What all hold. */
  get sum(): number {
    return this.#sum
  }

  heldBy(tenant: string): number {
    return this.#held.get(tenant) ?? 0
  }

  /** Whether there is room for `amount`, where `reserve` may be used, too. */
  fits(amount: number, reserve = 0): boolean {
    return this.#sum + amount <= this.total + reserve
  }

  /**
   * Whether `tenant` may hold `amount` more beside others: as much as is then left free for them. So one who is alone takes half, two
   * take a third each, and a newcomer always finds room (dynamic thresholds; Choudhury and Hahne, 1998). Whoever holds nothing gets
   * what fits.
   */
  fair(tenant: string, amount: number): boolean {
    if (!this.#several) return true
    const own = this.heldBy(tenant)
    return own === 0 || own + amount <= this.total - this.#sum - amount
  }

  /** Takes `amount`, or gives it back where it is negative. */
  add(tenant: string, amount: number): void {
    this.#sum += amount
    const own = this.heldBy(tenant) + amount
    if (own > 0) this.#held.set(tenant, own)
    else this.#held.delete(tenant)
  }
}
