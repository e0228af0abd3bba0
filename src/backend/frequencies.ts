/** Computes how many components of a head turn, and how fast. */
import type { RopeSpec } from '../base/model.ts'

/**
 * Returns the radians per position of each pair: theta^(-2f / turned), divided by the model's
 * scaling.
 */
export function frequenciesOf({ headDim, turned = headDim, theta, divisors }: RopeSpec): Float64Array {
  return Float64Array.from({ length: turned / 2 }, (_, f) => theta ** ((-2 * f) / turned) / (divisors?.[f] ?? 1))
}

/** Returns the number of angles that a row has for all rotations: a cosine and a sine for each pair. */
export function anglesOf(ropes: readonly RopeSpec[]): number {
  return ropes.reduce((sum, { headDim, turned = headDim }) => sum + turned, 0)
}
