/** Holds the residual states that a sequence keeps while some of its K and V are predicted. */
import { ForetokenError } from '../base/errors.ts'
import type { SequenceStates } from '../base/pass.ts'

/**
 * Tokens of room after those that may be predicted: the part that is read exactly, and the
 * beginning of the answer.
 */
const extraRoom = 256

interface StatesOptions {
  readonly width: number
  readonly first: number
  readonly until: number
  readonly kept: boolean
  readonly placed?: boolean
}

/** Residual states by position. */
export class States implements SequenceStates {
  readonly first: number
  readonly until: number
  readonly kept: boolean
  readonly placed: boolean
  readonly tails = new Map<number, Float32Array>()
  onRelease?: () => void
  readonly #width: number
  #rows: Float32Array
  #count = 0

  /** Holds states of positions from `first` on, `width` values each; none if `kept` is false. */
  constructor({ width, first, until, kept, placed = false }: StatesOptions) {
    this.#width = width
    this.first = first
    this.until = until
    this.kept = kept
    this.placed = placed
    this.#rows = new Float32Array(kept ? width * (until - first + extraRoom) : 0)
  }

  get end(): number {
    return this.first + this.#count
  }

  async append(count: number, values: () => Promise<Float32Array>): Promise<void> {
    if (this.kept) {
      const had = this.#count * this.#width
      const rows = await values()
      if (had + rows.length > this.#rows.length) {
        const larger = new Float32Array(Math.max(1.25 * this.#rows.length, had + rows.length))
        larger.set(this.#rows.subarray(0, had))
        this.#rows = larger
      }
      this.#rows.set(rows, had)
    }
    this.#count += count
  }

  slice(from: number, to: number): Float32Array {
    if (!this.kept || from < this.first || to > this.end || from > to)
      throw new ForetokenError('internal', `states ${from}..${to} of ${this.first}..${this.end}, kept: ${this.kept}`)
    return this.#rows.slice((from - this.first) * this.#width, (to - this.first) * this.#width)
  }
}
