/** Watches what an engine's memory is used for. */
import { expect } from 'vitest'
import type { Engine, MemoryBalance } from '../../src/index.ts'

/** Slack that does not depend on what is in use: the memory's first pages, and pages that are ready to be taken. */
const constant = 1 << 20

export class MemoryWatch {
  readonly #engine: Engine
  /** Before any work was done. */
  readonly #before: MemoryBalance
  #pages = 0

  constructor(engine: Engine) {
    this.#engine = engine
    this.#before = engine.backend.memory()
  }

  /** Notes how many pages are in use; to be called often. The balance must be exact at any time. */
  look(): void {
    const { total, weights, pools, tables, free } = this.#engine.backend.memory()
    if (weights + pools + tables + free !== total || total !== this.#engine.backend.memoryBytes())
      expect.fail(`${weights} + ${pools} + ${tables} + ${free} bytes are not the ${total} that the memory has`)
    this.#pages = Math.max(this.#pages, this.#engine.stats.pages_in_use)
  }

  /** Most bytes that the memory may have by what was seen in use: weights, tables as they were, and pages. */
  get bound(): number {
    const { weights, tables } = this.#before
    return 1.15 * (weights + tables + this.#pages * this.#engine.pageBytes) + constant
  }

  /** Most pages that were seen in use at once. */
  get pages(): number {
    return this.#pages
  }

  /** Memory followed what was in use, no table has grown, and what nobody holds was given back but for a few pages. */
  expectBounded(): void {
    this.look()
    const { total, weights, tables, pools } = this.#engine.backend.memory()
    expect({ weights, tables }).toEqual({ weights: this.#before.weights, tables: this.#before.tables })
    expect(total).toBeLessThanOrEqual(this.bound)
    const { pages_in_use } = this.#engine.stats
    expect(pools / this.#engine.pageBytes).toBeLessThanOrEqual(pages_in_use * 1.125 + 8)
  }
}
