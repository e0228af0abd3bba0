/**
 * Least squares with a small pull to zero, from second moments, so memory does not grow with the
 * data.
 */

import { at } from '../base/at.ts'
import { ForetokenError } from '../base/errors.ts'
import { cholesky, minusProducts, substitute } from './cholesky.ts'

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
