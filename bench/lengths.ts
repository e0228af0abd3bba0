/** Prompt lengths to measure with, and their statistics. Everything is seeded. */
import { defined } from '../src/base/at.ts'
import { createRandom } from '../src/decode/random.ts'
import { ForetokenError } from '../src/index.ts'

export interface Moments {
  readonly mean: number
  /** Standard deviation divided by the mean. */
  readonly cv: number
  readonly max: number
  readonly sum: number
}

export function moments(lengths: readonly number[]): Moments {
  const sum = lengths.reduce((total, length) => total + length, 0)
  const mean = sum / lengths.length
  const variance = lengths.reduce((total, length) => total + (length - mean) ** 2, 0) / lengths.length
  return { mean, cv: Math.sqrt(variance) / mean, max: Math.max(...lengths), sum }
}

/**
 * Draws lognormal lengths with a mean and a coefficient of variation, whole and within bounds; a CV
 * of 0 makes them all equal. With X = exp(mu + sigma Z): sigma^2 = ln(1 + CV^2), mu = ln(mean) -
 * sigma^2 / 2.
 */
export function lognormalLengths(
  count: number,
  mean: number,
  cv: number,
  seed: number,
  { min = 1, max = Infinity }: { min?: number; max?: number } = {},
): number[] {
  const next = createRandom(seed)
  const variance = Math.log(1 + cv * cv)
  const mu = Math.log(mean) - variance / 2
  return Array.from({ length: count }, () => {
    // The Box-Muller transform.
    const normal = Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next())
    return Math.min(max, Math.max(min, Math.round(Math.exp(mu + Math.sqrt(variance) * normal))))
  })
}

/**
 * Draws whole lengths from `least` to `most`, all equally likely. Throws `bad_argument` if there
 * are none.
 */
export function uniformLengths(count: number, least: number, most: number, seed: number): number[] {
  if (!(Number.isInteger(least) && Number.isInteger(most) && least >= 1 && most >= least))
    throw new ForetokenError(
      'bad_argument',
      `no whole lengths from ${least} to ${most}; give MIN from 1 and MAX above it`,
    )
  const next = createRandom(seed)
  return Array.from({ length: count }, () => least + Math.floor(next() * (most - least + 1)))
}

/** Returns the same items in another order (Fisher and Yates). */
export function shuffled<T>(items: readonly T[], seed: number): T[] {
  const next = createRandom(seed)
  const mixed = [...items]
  for (let at = mixed.length - 1; at > 0; at--) {
    const other = Math.floor(next() * (at + 1))
    ;[mixed[at], mixed[other]] = [defined(mixed[other]), defined(mixed[at])]
  }
  return mixed
}
