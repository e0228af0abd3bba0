/** Limits what rendering a template may cost, since templates come with models from anywhere. */

/** Limits of one rendering. */
export interface Limits {
  /**
   * Most statements and expressions that may be evaluated. Real templates take a few dozen for each
   * message.
   */
  readonly steps: number
  /**
   * Most characters that may be created or examined in total. List elements and dict entries count
   * as several.
   */
  readonly size: number
}

/** Approximate memory of a list element and of a dict entry, in characters. */
const elementSize = 4
const entrySize = 32

/** Thrown when a template exceeds its limits. */
export class OverBudget extends Error {
  override readonly name = 'OverBudget'
}

/** Most levels of nested expressions, loops and macros. */
const maxDepth = 250

/** Counts what one rendering has spent. */
export class Budget {
  readonly limits: Limits
  #steps = 0
  #size = 0
  #depth = 0

  constructor(limits: Limits) {
    this.limits = limits
  }

  /**
   * Counts one evaluation and one level of nesting. The caller must call `leave` at its end. Throws
   * `OverBudget`.
   */
  enter(): void {
    if (++this.#steps > this.limits.steps) throw new OverBudget(`it takes more than ${this.limits.steps} steps`)
    if (++this.#depth > maxDepth) throw new OverBudget(`it is nested more than ${maxDepth} deep`)
  }

  leave(): void {
    this.#depth--
  }

  /** Counts characters; call it before creating them. Throws `OverBudget`. */
  spend(characters: number): void {
    this.#size += characters
    if (!(this.#size <= this.limits.size))
      throw new OverBudget(`it makes more than ${this.limits.size} characters, or as much in lists`)
  }

  /** Throws `OverBudget` if a single text of `length` characters would exceed the whole budget. */
  allow(length: number): void {
    if (length > this.limits.size)
      throw new OverBudget(`it makes a text of ${length} characters; at most ${this.limits.size}`)
  }

  /** Counts list elements; call it before creating them. */
  spendElements(count: number): void {
    this.spend(elementSize * count)
  }

  /** Counts dict entries; call it before creating them. */
  spendEntries(count: number): void {
    this.spend(entrySize * count)
  }
}
