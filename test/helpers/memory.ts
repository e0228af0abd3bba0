/** Watches the memory use of an engine. */
import { expect } from 'vitest'
import type { Engine, MemoryBalance } from '../../src/index.ts'

/**
 * Slack that does not depend on the pages in use: the memory's first pages, and idle pages kept
 * ready.
 */
const constant = 1 << 20

export class MemoryWatch {
  readonly #engine: Engine
  /** Memory use before any work. */
  readonly #before: MemoryBalance
  #pages = 0

  constructor(engine: Engine) {
    this.#engine = engine
    this.#before = engine.backend.memory()
  }

  /** Records the number of pages in use; call it often. The balance must be exact at any time. */
  look(): void {
    const { total, weights, pools, tables, free } = this.#engine.backend.memory()
    if (weights + pools + tables + free !== total || total !== this.#engine.backend.memoryBytes())
      expect.fail(`${weights} + ${pools} + ${tables} + ${free} bytes are not the ${total} that the memory has`)
    this.#pages = Math.max(this.#pages, this.#engine.stats.pages_in_use)
  }

  /** Maximum size of the memory in bytes, from observed use: weights, initial tables, and pages. */
  get bound(): number {
    const { weights, tables } = this.#before
    return 1.15 * (weights + tables + this.#pages * this.#engine.pageBytes) + constant
  }

  /** Maximum number of pages observed in use at once. */
  get pages(): number {
    return this.#pages
  }

  /**
   * Checks that memory followed its use, that no table has grown, and that unused pages but a few
   * were returned.
   */
  expectBounded(): void {
    this.look()
    const { total, weights, tables, pools } = this.#engine.backend.memory()
    expect({ weights, tables }).toEqual({ weights: this.#before.weights, tables: this.#before.tables })
    expect(total).toBeLessThanOrEqual(this.bound)
    const { pages_in_use } = this.#engine.stats
    expect(pools / this.#engine.pageBytes).toBeLessThanOrEqual(pages_in_use * 1.125 + 8)
  }
}
