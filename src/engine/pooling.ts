/** Makes one vector of the states of a text's tokens. */
import { at } from '../base/at.ts'
import { ForetokenError } from '../base/errors.ts'
import type { Pooling } from '../base/model.ts'
import type { StatesReader } from '../decode/task.ts'

/** Numbers of a vector, and whether it is scaled to length 1. */
export interface VectorForm {
  /** The first this many numbers are kept. */
  readonly dimensions: number
  readonly normalize: boolean
}

const rowsOf = { last: 'last', cls: 'first', mean: 'all' } as const

/** Pools the states of one text, which arrive chunk by chunk in the order of their positions. */
export class Pool implements StatesReader {
  readonly rows: StatesReader['rows']
  /** Sums in f64, so that chunks of any size give the same bits. */
  readonly #sums: Float64Array
  #count = 0

  /** `hidden` is the width of a state. */
  constructor(pooling: Pooling, hidden: number) {
    this.rows = rowsOf[pooling]
    this.#sums = new Float64Array(hidden)
  }

  /** Begins again: the text is read from its first token. */
  reset(): void {
    this.#sums.fill(0)
    this.#count = 0
  }

  read(states: Float32Array): void {
    const sums = this.#sums
    const { length } = sums
    for (let row = 0; row < states.length; row += length)
      for (let i = 0; i < length; i++) sums[i] = (sums[i] ?? NaN) + (states[row + i] ?? NaN)
    this.#count += states.length / length
  }

  /** Returns the mean of the states that were read, (hidden). */
  mean(): Float64Array {
    return this.#sums.map((sum) => sum / this.#count)
  }
}

/**
 * Returns the vector of a text: its first numbers, scaled to length 1 if `normalize`. Throws
 * `bad_model` if they are not finite.
 */
export function vectorOf(
  values: Float64Array | Float32Array,
  { dimensions, normalize }: VectorForm,
): Float32Array<ArrayBuffer> {
  const kept = Float64Array.from(values.subarray(0, dimensions))
  let square = 0
  for (let i = 0; i < kept.length; i++) square += at(kept, i) ** 2
  if (!Number.isFinite(square))
    throw new ForetokenError('bad_model', 'the states of the model are not finite; its weights may be damaged')
  const factor = normalize && square > 0 ? 1 / Math.sqrt(square) : 1
  return Float32Array.from(kept, (value) => value * factor)
}
