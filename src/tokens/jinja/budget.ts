/** What a rendering may cost. A template comes with a model, and a model may come from anywhere. */

export interface Limits {
  /** Statements and expressions that may be evaluated. Real templates take a few dozen for each message. */
  readonly steps: number
  /** Characters that may be made or looked at, in all; elements of lists and entries of dicts count as more. */
  readonly size: number
}

/** About what an element of a list and an entry of a dict take in memory, in characters. */
const elementSize = 4
const entrySize = 32

/** A template asked for more than it may have. */
export class OverBudget extends Error {
  override readonly name = 'OverBudget'
}

/** How deep expressions, loops and macros may be nested. */
const maxDepth = 250

export class Budget {
  readonly limits: Limits
  #steps = 0
  #size = 0
  #depth = 0

  constructor(limits: Limits) {
    this.limits = limits
  }

  /** Counts one evaluation, and what it is nested in. The caller leaves it again. */
  enter(): void {
    if (++this.#steps > this.limits.steps) throw new OverBudget(`it takes more than ${this.limits.steps} steps`)
    if (++this.#depth > maxDepth) throw new OverBudget(`it is nested more than ${maxDepth} deep`)
  }

  leave(): void {
    this.#depth--
  }

  /** Counts characters, before they are made. */
  spend(characters: number): void {
    this.#size += characters
    if (!(this.#size <= this.limits.size))
      throw new OverBudget(`it makes more than ${this.limits.size} characters, or as much in lists`)
  }

  /** Lets no text become longer than all that may be made. */
  allow(length: number): void {
    if (length > this.limits.size)
      throw new OverBudget(`it makes a text of ${length} characters; at most ${this.limits.size}`)
  }

  /** Counts elements of lists, before they are made. */
  spendElements(count: number): void {
    this.spend(elementSize * count)
  }

  /** Counts entries of dicts, before they are made. */
  spendEntries(count: number): void {
    this.spend(entrySize * count)
  }
}
