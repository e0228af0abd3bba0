/**
 * Least squares with a small pull to zero, from second moments, so memory does not grow with the
 * data.
 */
import { at, defined } from '../base/at.ts'
import { ForetokenError } from '../base/errors.ts'

/** Sums over rows of inputs x (k) and targets y (n). */
export interface MomentSums {
  readonly rows: number
  /** (k, k), x xᵀ */
  readonly xx: Float64Array
  /** (k) */
  readonly x: Float64Array
  /** (k, n), x yᵀ */
  readonly xy: Float64Array
  /** (n) */
  readonly y: Float64Array
}

/** y ≈ weight x + bias. */
export interface LinearFit {
  /** (n, k) */
  readonly weight: Float64Array
  /** (n) */
  readonly bias: Float64Array
}

/** The inputs' covariance, factored once for many targets. */
export class Ridge {
  readonly #rows: number
  readonly #mean: Float64Array
  /** The rows of a lower triangle; row i has i + 1 values. */
  readonly #factor: readonly Float64Array[]

  /**
   * `lambda` is a share of the inputs' mean variance. Throws `bad_argument` for sums that are not
   * finite, and for too few rows.
   */
  constructor({ rows, xx, x }: Pick<MomentSums, 'rows' | 'xx' | 'x'>, lambda: number) {
    const k = x.length
    if (rows < 2) throw new ForetokenError('bad_argument', `${rows} tokens are too few to fit ${k} inputs`)
    if (!xx.every(Number.isFinite) || !x.every(Number.isFinite))
      throw new ForetokenError('bad_argument', 'the inputs hold a value that is not finite; check model and data')
    this.#rows = rows
    this.#mean = x.map((sum) => sum / rows)
    const covariance = Array.from(this.#mean, (mean, i) =>
      this.#mean.subarray(0, i + 1).map((other, j) => at(xx, i * k + j) / rows - mean * other),
    )
    const trace = covariance.reduce((sum, row, i) => sum + at(row, i), 0)
    for (const [i, row] of covariance.entries()) row[i] = at(row, i) + (lambda * trace) / k
    this.#factor = cholesky(covariance)
  }

  solve({ xy, y }: Pick<MomentSums, 'xy' | 'y'>): LinearFit {
    const k = this.#mean.length
    const n = y.length
    if (!xy.every(Number.isFinite) || !y.every(Number.isFinite))
      throw new ForetokenError('bad_argument', 'the targets hold a value that is not finite; check model and data')
    const weight = new Float64Array(n * k)
    const bias = new Float64Array(n)
    for (const [output, sum] of y.entries()) {
      const mean = sum / this.#rows
      const row = weight.subarray(output * k, (output + 1) * k)
      for (const [i, inputMean] of this.#mean.entries()) row[i] = at(xy, i * n + output) / this.#rows - inputMean * mean
      substitute(this.#factor, row)
      bias[output] = minusProducts(mean, row, this.#mean, k)
    }
    return { weight, bias }
  }
}

/** Factors a, given by the rows of its lower triangle, into L Lᵀ. L overwrites a. */
function cholesky(a: readonly Float64Array[]): readonly Float64Array[] {
  for (let i = 0; i < a.length; i++) {
    const row = at(a, i)
    for (let j = 0; j <= i; j++) {
      const other = at(a, j)
      const rest = minusProducts(at(row, j), row, other, j)
      if (i !== j) row[j] = rest / at(other, j)
      else if (rest > 0) row[i] = Math.sqrt(rest)
      else
        throw new ForetokenError(
          'bad_argument',
          `input ${i} of ${a.length} follows from the others: the data are too few or too uniform; give more text, or a larger ridge`,
        )
    }
  }
  return a
}

/** Solves L Lᵀ x = b. x overwrites b. */
function substitute(factor: readonly Float64Array[], b: Float64Array): void {
  for (let i = 0; i < b.length; i++) {
    const row = at(factor, i)
    b[i] = minusProducts(at(b, i), row, b, i) / at(row, i)
  }
  // Goes by columns of the upper triangle, whose values are adjacent in memory.
  for (let i = b.length - 1; i >= 0; i--) {
    const column = at(factor, i)
    const value = at(b, i) / at(column, i)
    b[i] = value
    for (let j = 0; j < i; j++) b[j] = defined(b[j]) - defined(column[j]) * value
  }
}

/**
 * Returns `start` minus the products of the first `count` values of two lists, subtracted in order.
 */
function minusProducts(start: number, a: Float64Array, b: Float64Array, count: number): number {
  let rest = start
  for (let i = 0; i < count; i++) rest -= defined(a[i]) * defined(b[i])
  return rest
}
