/** Reads RoPE scaling as one divisor for each frequency. */

import { ForetokenError } from '../base/errors.ts'
import { isObject, type Json, show } from './json.ts'
import { factorOf, linear, llama3, type Rope } from './rope-scaling.ts'

/**
 * Returns the base of the frequencies in a config.json. Throws `bad_model` if two keys disagree.
 */
export function thetaOf(json: Json, where: string): number {
  const inner = isObject(json.rope_parameters) ? json.rope_parameters.rope_theta : undefined
  const [theta, other] = [json.rope_theta ?? inner ?? 10_000, inner ?? json.rope_theta ?? 10_000]
  if (typeof theta !== 'number' || theta !== other)
    throw new ForetokenError(
      'bad_model',
      `${where}: rope_theta is ${show(theta)}${theta === other ? ', not a number' : `, and ${show(other)} in rope_parameters`}`,
    )
  return theta
}

/**
 * Returns the divisors that `rope_scaling` of a config.json asks for, or `rope_parameters` as
 * transformers 5 writes it; undefined for none. A factor without a type is linear, as in the first
 * files that had one. Throws `bad_model`, `unsupported`.
 */
export function divisorsOfJson(json: Json, rope: Rope, where: string): number[] | undefined {
  const name = json.rope_scaling ? 'rope_scaling' : 'rope_parameters'
  const scaling = json[name]
  if (scaling === undefined || scaling === null) return undefined
  if (!isObject(scaling)) throw new ForetokenError('bad_model', `${where}: ${name} is ${show(scaling)}, not an object`)
  const type = scaling.rope_type ?? scaling.type ?? (scaling.factor === undefined ? 'default' : 'linear')
  const nested = Object.keys(scaling).find((key) => isObject(scaling[key]))
  if (nested !== undefined)
    throw new ForetokenError('unsupported', `${where}: ${name} differs by layers (${show(nested)}); one for all is run`)
  const { partial_rotary_factor: partial, attention_factor: attention } = scaling
  if ((partial ?? 1) !== 1 || (attention ?? 1) !== 1)
    throw new ForetokenError(
      'unsupported',
      `${where}: ${name} has ${(partial ?? 1) === 1 ? `attention_factor ${show(attention)}` : `partial_rotary_factor ${show(partial)}`}; 1 is run`,
    )
  const number = (key: string, otherwise?: unknown): number => {
    const value = scaling[key] ?? otherwise
    if (typeof value === 'number' && value > 0 && value <= 2 ** 26) return value
    throw new ForetokenError('bad_model', `${where}: ${name}.${key} is ${show(value)}, not a positive number`)
  }
  if (type === 'default') return undefined
  if (type === 'linear') return linear(rope, factorOf(number('factor'), `${where}: ${name}.factor`))
  if (type === 'llama3') {
    const [low, high] = [number('low_freq_factor'), number('high_freq_factor')]
    if (!(high > low))
      throw new ForetokenError('bad_model', `${where}: ${name} blends from ${low} to ${high} turns; expected a range`)
    const original = number('original_max_position_embeddings', json.original_max_position_embeddings)
    return llama3(rope, { factor: factorOf(number('factor'), `${where}: ${name}.factor`), low, high, original })
  }
  throw new ForetokenError('unsupported', `${where}: RoPE scaling ${show(type)}; default, linear and llama3 are run`)
}

/**
 * Scaling in a GGUF. `factors` are its `rope_freqs.weight`, on top of which a linear scaling
 * applies.
 */
export interface GgufScaling {
  readonly type: unknown
  /** `rope.scaling.factor`, or `rope.scale_linear` of older files; 0 is none. */
  readonly factor: number | undefined
  readonly factors: readonly number[] | undefined
}

/**
 * Returns the divisors that a GGUF asks for; undefined for none. Throws `bad_model`, `unsupported`.
 */
export function divisorsOfGguf(
  { type, factor = 0, factors }: GgufScaling,
  rope: Rope,
  where: string,
): number[] | undefined {
  if (type !== undefined && type !== 'none' && type !== 'linear')
    throw new ForetokenError('unsupported', `${where}: RoPE scaling ${show(type)}; none, linear and llama3 are run`)
  const divisor = type === 'none' || factor === 0 ? 1 : factorOf(factor, `${where}: the RoPE scaling's factor`)
  if (factors) return factors.map((each) => each * divisor)
  return divisor === 1 ? undefined : linear(rope, divisor)
}
