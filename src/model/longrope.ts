/**
 * Reads LongRoPE (arXiv 2402.13753): factors for the frequencies of the context that a model was
 * first made for, and others for longer ones. The first are run, and contexts end where they do: K
 * in pages would have to change when a sequence grows beyond.
 */
import { ForetokenError } from '../base/errors.ts'
import type { ModelConfig } from '../base/model.ts'
import { isWhole } from '../base/numbers.ts'
import { type Json, show } from './json.ts'

/** The part of a config that LongRoPE decides. */
export type LongRope = Pick<ModelConfig, 'ropeDivisors' | 'ropeAmplitude' | 'maxContext'>

/** Reads the scaling `name` of a config.json for a context of `maxContext` tokens. Throws `bad_model`. */
export function longRopeOfJson(json: Json, name: string, maxContext: number, where: string): LongRope {
  const scaling = json[name] as Json
  const bad = (key: string, expected: string) =>
    new ForetokenError('bad_model', `${where}: ${name}.${key} is ${show(scaling[key])}; expected ${expected}`)
  const { short_factor: factors } = scaling
  if (!Array.isArray(factors) || !factors.every((factor) => typeof factor === 'number'))
    throw bad('short_factor', 'a list of numbers')
  const original = json.original_max_position_embeddings ?? scaling.original_max_position_embeddings
  if (!isWhole(original, 1)) throw bad('original_max_position_embeddings', 'a number of tokens')
  const factor = scaling.factor ?? maxContext / original
  if (typeof factor !== 'number') throw bad('factor', 'a number')
  const amplitude = scaling.attention_factor ?? amplitudeOf(factor, original)
  if (typeof amplitude !== 'number') throw bad('attention_factor', 'a number')
  return longRope(factors, amplitude, Math.min(original, maxContext))
}

/** Returns what LongRoPE decides: factors of the short context, the factor of what turns, and the context. */
export function longRope(factors: readonly number[], amplitude: number, maxContext: number): LongRope {
  return {
    maxContext,
    ropeDivisors: factors,
    ...(amplitude !== 1 && { ropeAmplitude: amplitude }),
  }
}

/** Returns the warning for a context that ends before the one that a file promises. */
export function shortContext(where: string, maxContext: number, said: number): string {
  return `${where}: contexts end at ${maxContext} tokens of ${said}: longer ones take other factors of RoPE, which are not run`
}

function amplitudeOf(factor: number, original: number): number {
  return factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original))
}
