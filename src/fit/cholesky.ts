/** Solves symmetric linear systems: factors a matrix into L Lᵀ once, for many right sides. */
import { at, defined } from '../base/at.ts'
import { ForetokenError } from '../base/errors.ts'

/** Factors a, given by the rows of its lower triangle, into L Lᵀ. L overwrites a. */
export function cholesky(a: readonly Float64Array[]): readonly Float64Array[] {
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
export function substitute(factor: readonly Float64Array[], b: Float64Array): void {
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
export function minusProducts(start: number, a: Float64Array, b: Float64Array, count: number): number {
  let rest = start
  for (let i = 0; i < count; i++) rest -= defined(a[i]) * defined(b[i])
  return rest
}
