/** Computes the divisors of RoPE scalings. */

import { ForetokenError } from '../base/errors.ts'
import type { ModelConfig } from '../base/model.ts'
import { ropeFactors } from './config.ts'

/** What the rotation of a model is made from. */
export type Rope = Pick<ModelConfig, 'headDim' | 'ropeTheta' | 'ropeTurned'>

/** Returns a factor in the range that is run. Throws `bad_model` for another one. */
export function factorOf(factor: number, what: string): number {
  if (factor >= ropeFactors.least && factor <= ropeFactors.most) return factor
  throw new ForetokenError(
    'bad_model',
    `${what} is ${factor}; expected a number from ${ropeFactors.least} to ${ropeFactors.most}`,
  )
}

/** Returns the divisors of linear scaling: `factor` for each frequency. */
export function linear({ headDim, ropeTurned = headDim }: Rope, factor: number): number[] {
  return new Array<number>(ropeTurned / 2).fill(factor)
}

/**
 * Returns the divisors of Llama 3's scaling: long wavelengths are stretched by `factor`, short ones
 * kept, and those between `low` and `high` turns in the original context blended (transformers,
 * modeling_rope_utils).
 */
export function llama3(
  { headDim, ropeTheta, ropeTurned = headDim }: Rope,
  scaling: { factor: number; low: number; high: number; original: number },
): number[] {
  return Array.from({ length: ropeTurned / 2 }, (_, f) => {
    const wavelength = 2 * Math.PI * ropeTheta ** ((2 * f) / ropeTurned)
    const turns = scaling.original / wavelength
    if (turns < scaling.low) return scaling.factor
    if (turns > scaling.high) return 1
    const smooth = (turns - scaling.low) / (scaling.high - scaling.low)
    return 1 / ((1 - smooth) / scaling.factor + smooth)
  })
}
