/** Least squares with a small pull to zero, from second moments: what is kept does not grow with the data. */
import { ForetokenError } from '../base/errors.ts'

/** Sums over rows of inputs x (k) and targets y (n). */
export interface Sums {
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
  /** Lower triangle, (k, k). */
  readonly #factor: Float64Array

  /** `lambda` is a share of the inputs' mean variance. Throws `bad_argument` for sums that are not finite, or of too few rows. */
  constructor({ rows, xx, x }: Pick<Sums, 'rows' | 'xx' | 'x'>, lambda: number) {
    const k = x.length
    if (rows < 2) throw new ForetokenError('bad_argument', `${rows} tokens are too few to fit ${k} inputs`)
    if (!xx.every(Number.isFinite) || !x.every(Number.isFinite))
      throw new ForetokenError('bad_argument', 'the inputs hold a value that is not finite; check model and data')
    this.#rows = rows
    this.#mean = x.map((sum) => sum / rows)
    const covariance = new Float64Array(k * k)
    let trace = 0
    for (let i = 0; i < k; i++) {
      for (let j = 0; j <= i; j++) covariance[i * k + j] = xx[i * k + j]! / rows - this.#mean[i]! * this.#mean[j]!
      trace += covariance[i * k + i]!
    }
    for (let i = 0; i < k; i++) covariance[i * k + i]! += (lambda * trace) / k
    this.#factor = cholesky(covariance, k)
  }

  solve({ xy, y }: Pick<Sums, 'xy' | 'y'>): LinearFit {
    const k = this.#mean.length
    const n = y.length
    if (!xy.every(Number.isFinite) || !y.every(Number.isFinite))
      throw new ForetokenError('bad_argument', 'the targets hold a value that is not finite; check model and data')
    const weight = new Float64Array(n * k)
    const bias = new Float64Array(n)
    for (let output = 0; output < n; output++) {
      const mean = y[output]! / this.#rows
      const row = weight.subarray(output * k, (output + 1) * k)
      for (let i = 0; i < k; i++) row[i] = xy[i * n + output]! / this.#rows - this.#mean[i]! * mean
      substitute(this.#factor, row)
      let offset = mean
      for (let i = 0; i < k; i++) offset -= row[i]! * this.#mean[i]!
      bias[output] = offset
    }
    return { weight, bias }
  }
}

/** The lower triangle L with L Lᵀ = a, in the place of a's. */
function cholesky(a: Float64Array, k: number): Float64Array {
  for (let i = 0; i < k; i++)
    for (let j = 0; j <= i; j++) {
      let sum = a[i * k + j]!
      for (let m = 0; m < j; m++) sum -= a[i * k + m]! * a[j * k + m]!
      if (i !== j) a[i * k + j] = sum / a[j * k + j]!
      else if (sum > 0) a[i * k + i] = Math.sqrt(sum)
      else
        throw new ForetokenError(
          'bad_argument',
          `input ${i} of ${k} follows from the others: the data are too few or too uniform; give more text, or a larger ridge`,
        )
    }
  return a
}

/** Solves L Lᵀ x = b in the place of b. */
function substitute(factor: Float64Array, b: Float64Array): void {
  const k = b.length
  for (let i = 0; i < k; i++) {
    let sum = b[i]!
    for (let j = 0; j < i; j++) sum -= factor[i * k + j]! * b[j]!
    b[i] = sum / factor[i * k + i]!
  }
  // By columns of the upper triangle, which lie side by side in memory.
  for (let i = k - 1; i >= 0; i--) {
    const value = b[i]! / factor[i * k + i]!
    b[i] = value
    for (let j = 0; j < i; j++) b[j]! -= factor[i * k + j]! * value
  }
}
