/**
 * A fixed amount (turns, bytes) that edges take from and give back. What is taken can't be taken away again, so some is always left for whoever comes next:
 * an edge may hold no more than is free, the amount that it takes included (dynamic thresholds: A. Choudhury, E. Hahne, 1998). One edge alone gets half, two
 * get a third each and so on.
 */
export class Shares {
  readonly #total: number
  readonly #others: boolean
  readonly #held = new Map<string, number>()
  #used = 0

  /** `others`: whether more than one edge may come. A single edge may take everything. */
  constructor(total: number, others: boolean) {
    this.#total = total
    this.#others = others
  }

  get used(): number {
    return this.#used
  }

  /** Whether `edge` may take `amount` now. */
  fits(edge: string, amount = 1): boolean {
    const free = this.#total - this.#used
    return amount <= free && (!this.#others || this.#of(edge) + amount <= free)
  }

  /** Takes `amount`; returns how to give it back, once. The caller has asked whether it fits. */
  take(edge: string, amount = 1): () => void {
    this.#add(edge, amount)
    let taken = true
    return () => {
      if (taken) this.#add(edge, -amount)
      taken = false
    }
  }

  #of(edge: string): number {
    return this.#held.get(edge) ?? 0
  }

  #add(edge: string, amount: number): void {
    this.#used += amount
    const held = this.#of(edge) + amount
    if (held > 0) this.#held.set(edge, held)
    else this.#held.delete(edge)
  }
}
