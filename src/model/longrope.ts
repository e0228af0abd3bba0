/**
 * Reads LongRoPE (arXiv 2402.13753): divisors of the frequencies for sequences that are no longer than
 * the context that a model was first made for, and others for longer ones.
 */
import { ForetokenError } from '../base/errors.ts'
import type { ModelConfig } from '../base/model.ts'
import { isWhole } from '../base/numbers.ts'
import { checkDivisors } from './config.ts'
import { type Json, show } from './json.ts'

/** The part of a config that LongRoPE decides. */
export type LongRopeConfig = Pick<ModelConfig, 'ropeDivisors' | 'ropeLong' | 'ropeAmplitude'>

/** What a file says of it. */
export interface LongRopeSource {
  readonly short: readonly number[]
  readonly long: readonly number[]
  /** Factor of the components that turn. */
  readonly amplitude: number
  /** Tokens of the first context. */
  readonly original: number
}

/** Reads the scaling `name` of a config.json for a context of `maxContext` tokens. Throws `bad_model`. */
export function longRopeOfJson(
  json: Json,
  name: string,
  { maxContext, headDim, ropeTurned = headDim }: Pick<ModelConfig, 'maxContext' | 'headDim' | 'ropeTurned'>,
  where: string,
): LongRopeConfig {
  const scaling = json[name] as Json
  const bad = (key: string, expected: string) =>
    new ForetokenError('bad_model', `${where}: ${name}.${key} is ${show(scaling[key])}; expected ${expected}`)
  const factorsOf = (key: string): readonly number[] => {
    const factors = scaling[key]
    if (!Array.isArray(factors) || !factors.every((factor) => typeof factor === 'number'))
      throw bad(key, 'a list of numbers')
    return factors
  }
  const [short, long] = [factorsOf('short_factor'), factorsOf('long_factor')]
  const first = 'original_max_position_embeddings'
  const original = json[first] ?? scaling[first]
  if (!isWhole(original, 1))
    throw new ForetokenError('bad_model', `${where}: ${first} is ${show(original)}; expected a number of tokens`)
  checkDivisors(short, ropeTurned, where, `${name}.short_factor`)
  checkDivisors(long, ropeTurned, where, `${name}.long_factor`)
  const odd = ['short_mscale', 'long_mscale'].find((key) => scaling[key] !== undefined)
  if (odd !== undefined)
    throw new ForetokenError(
      'unsupported',
      `${where}: ${name}.${odd} is ${show(scaling[odd])}; one attention_factor for short and long sequences is run`,
    )
  const factor = scaling.factor ?? maxContext / original
  if (typeof factor !== 'number') throw bad('factor', 'a number')
  const amplitude = scaling.attention_factor ?? amplitudeOf(factor, original)
  if (typeof amplitude !== 'number') throw bad('attention_factor', 'a number')
  return longRope({ short, long, amplitude, original }, maxContext)
}

/** Returns what LongRoPE decides. The long divisors are left out where no sequence is long. */
export function longRope({ short, long, amplitude, original }: LongRopeSource, maxContext: number): LongRopeConfig {
  return {
    ropeDivisors: short,
    ...(original < maxContext && { ropeLong: { beyond: original, divisors: long } }),
    ...(amplitude !== 1 && { ropeAmplitude: amplitude }),
  }
}

function amplitudeOf(factor: number, original: number): number {
  return factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original))
}
