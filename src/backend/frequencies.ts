/** Computes how many components of a head turn, and how fast. */
import { defined } from '../base/at.ts'
import type { RopeSpec } from '../base/model.ts'
import type { Segment } from '../base/pass.ts'

/** Radians per position of each pair, (turned / 2). */
export interface Frequencies {
  /** Segments that are not long turn by `short`, long ones by `long`. */
  readonly short: Float64Array
  readonly long: Float64Array
}

/**
 * Returns theta^(-2f / turned) for each pair f, divided by the model's scaling, and by its scaling of
 * long sequences.
 */
export function frequenciesOf({ headDim, turned = headDim, theta, divisors, long }: RopeSpec): Frequencies {
  const divided = (by: readonly number[] | undefined) =>
    Float64Array.from({ length: turned / 2 }, (_, f) => theta ** ((-2 * f) / turned) / (by?.[f] ?? 1))
  const short = divided(divisors)
  return { short, long: long ? divided(long.divisors) : short }
}

/**
 * Writes the cosines and sines of the rows of `segments` to `out`, (rows, turned), times the
 * rotation's amplitude.
 */
export function writeAngles(
  out: Float32Array,
  segments: readonly Segment[],
  frequencies: Frequencies,
  { amplitude = 1 }: RopeSpec,
): void {
  const half = frequencies.short.length
  let at = 0
  for (const { length, past, position = past, long = false } of segments) {
    const turns = long ? frequencies.long : frequencies.short
    for (let i = 0; i < length; i++, at += 2 * half)
      for (let f = 0; f < half; f++) {
        const angle = (position + i) * defined(turns[f])
        out[at + f] = amplitude * Math.cos(angle)
        out[at + half + f] = amplitude * Math.sin(angle)
      }
  }
}

/** Returns the number of angles that a row has for all rotations: a cosine and a sine for each pair. */
export function anglesOf(ropes: readonly RopeSpec[]): number {
  return ropes.reduce((sum, { headDim, turned = headDim }) => sum + turned, 0)
}
