/** Reads RoPE scaling as one divisor for each frequency, and what goes with it. */

import { ForetokenError } from '../base/errors.ts'
import type { ModelConfig } from '../base/model.ts'
import { isWhole } from '../base/numbers.ts'
import { isObject, type Json, show } from './json.ts'
import { longRope, longRopeOfJson } from './longrope.ts'
import { factorOf, linear, llama3, type Rope } from './rope-divisors.ts'

/** The part of a config that a scaling of RoPE decides. */
export type RopeScaling = Partial<Pick<ModelConfig, 'ropeDivisors' | 'ropeLong' | 'ropeAmplitude'>>

/**
 * Returns the base of the frequencies in a config.json. Throws `bad_model` if two keys disagree.
 */
export function thetaOf(json: Json, where: string): number {
  const inner = isObject(json.rope_parameters) ? json.rope_parameters.rope_theta : undefined
  const { rope_theta: outer = inner ?? 10_000 } = json
  const [theta, other] = [outer, inner ?? outer]
  if (typeof theta !== 'number' || theta !== other)
    throw new ForetokenError(
      'bad_model',
      `${where}: rope_theta is ${show(theta)}${theta === other ? ', not a number' : `, and ${show(other)} in rope_parameters`}`,
    )
  return theta
}

/**
 * Returns what `rope_scaling` of a config.json asks for, or `rope_parameters` as transformers 5
 * writes it. A factor without a type is linear, as in the first files that had one. Throws
 * `bad_model`, `unsupported`.
 */
export function scalingOfJson(json: Json, rope: Rope & Pick<ModelConfig, 'maxContext'>, where: string): RopeScaling {
  const name = (json.rope_scaling ?? undefined) === undefined ? 'rope_parameters' : 'rope_scaling'
  const scaling = json[name]
  if (scaling === undefined || scaling === null) return {}
  if (!isObject(scaling)) throw new ForetokenError('bad_model', `${where}: ${name} is ${show(scaling)}, not an object`)
  const type = scaling.rope_type ?? scaling.type ?? (scaling.factor === undefined ? 'default' : 'linear')
  const nested = Object.keys(scaling).find((key) => isObject(scaling[key]))
  if (nested !== undefined)
    throw new ForetokenError('unsupported', `${where}: ${name} differs by layers (${show(nested)}); one for all is run`)
  const { partial_rotary_factor: partial, attention_factor: attention } = scaling
  const share = (rope.ropeTurned ?? rope.headDim) / rope.headDim
  // Without one of its own, a scaling turns the share that the config names.
  const isShare =
    (partial ?? undefined) === undefined ||
    (typeof partial === 'number' && Math.floor(partial * rope.headDim) === share * rope.headDim)
  if (type === 'longrope' || type === 'su') return longRopeOfJson(json, name, rope, where)
  // First the type: fields of one that is not run say little.
  if (type !== 'default' && type !== 'linear' && type !== 'llama3')
    throw new ForetokenError(
      'unsupported',
      `${where}: ${name}.${scaling.rope_type === undefined ? 'type' : 'rope_type'} asks for RoPE scaling ${show(type)}; default, linear, llama3 and longrope are run`,
    )
  if (!isShare || (attention ?? 1) !== 1)
    throw new ForetokenError(
      'unsupported',
      `${where}: ${name} has ${isShare ? `attention_factor ${show(attention)}; 1` : `partial_rotary_factor ${show(partial)}; ${share}`} is run`,
    )
  const number = (key: string, otherwise?: unknown): number => {
    const value = scaling[key] ?? otherwise
    if (typeof value === 'number' && value > 0 && value <= 2 ** 26) return value
    throw new ForetokenError('bad_model', `${where}: ${name}.${key} is ${show(value)}, not a positive number`)
  }
  if (type === 'default') return {}
  if (type === 'llama3') {
    const [low, high] = [number('low_freq_factor'), number('high_freq_factor')]
    if (!(high > low))
      throw new ForetokenError('bad_model', `${where}: ${name} blends from ${low} to ${high} turns; expected a range`)
    const first = 'original_max_position_embeddings'
    const original = number(first, json[first])
    if (!isWhole(original))
      throw new ForetokenError('bad_model', `${where}: ${name}.${first} is ${original}; expected a number of tokens`)
    const factor = factorOf(number('factor'), `${where}: ${name}.factor`)
    return { ropeDivisors: llama3(rope, { factor, low, high, original }) }
  }
  return { ropeDivisors: linear(rope, factorOf(number('factor'), `${where}: ${name}.factor`)) }
}

/**
 * Returns a config.json whose `rope_parameters` differ by kinds of layers, as transformers 5 writes
 * it, in the form of earlier versions: `rope_theta` and `rope_scaling` of layers that see the whole
 * context, and the base of those that slide at `local`. Throws `bad_model`, and `unsupported` for a
 * scaling of layers that slide.
 */
export function ropesByKind(json: Json, local: string, where: string): Json {
  const { rope_parameters: parameters, ...rest } = json
  if (!isObject(parameters) || !('full_attention' in parameters || 'sliding_attention' in parameters)) return json
  const { full_attention: full = {}, sliding_attention: sliding = {}, ...more } = parameters
  if (!isObject(full) || !isObject(sliding) || Object.keys(more).length > 0)
    throw new ForetokenError(
      'bad_model',
      `${where}: rope_parameters is ${show(parameters)}; expected full_attention and sliding_attention`,
    )
  const { rope_theta: slow, rope_type: type = 'default', ...scaling } = sliding
  const odd = type === 'default' ? Object.keys(scaling)[0] : 'rope_type'
  if (odd !== undefined)
    throw new ForetokenError(
      'unsupported',
      `${where}: rope_parameters of sliding layers have ${show(odd)}, ${show(sliding[odd])}; only a base is run`,
    )
  const { rope_theta: theta, ...stretched } = full
  return {
    ...rest,
    rope_scaling: stretched,
    ...(theta !== undefined && { rope_theta: theta }),
    ...(slow !== undefined && { [local]: slow }),
  }
}

/**
 * Scaling in a GGUF. `factors` are its `rope_freqs.weight`, on top of which a linear scaling
 * applies.
 */
export interface GgufScaling {
  /** The architecture and a dot, with which keys begin. */
  readonly prefix: string
  readonly type: unknown
  /** `rope.scaling.factor`; 0 is none. */
  readonly factor: number | undefined
  /** `rope.scale_linear`, the same in older files. */
  readonly older: number | undefined
  readonly factors: readonly number[] | undefined
  /** `rope_factors_short.weight` and `rope_factors_long.weight`: the scaling is LongRoPE. */
  readonly short: readonly number[] | undefined
  readonly long: readonly number[] | undefined
  /** `rope.scaling.attn_factor` and `rope.scaling.original_context_length`, which LongRoPE reads. */
  readonly amplitude: number | undefined
  readonly original: number | undefined
}

/** Returns what a GGUF asks for. Throws `bad_model`, `unsupported`. */
export function scalingOfGguf(
  { prefix, type, factor: newer, older, factors, short, long, amplitude = 1, original }: GgufScaling,
  rope: Rope & Pick<ModelConfig, 'maxContext'>,
  where: string,
): RopeScaling {
  if (short || long) {
    if (!short || !long)
      throw new ForetokenError(
        'bad_model',
        `${where}: rope_factors_${short ? 'long' : 'short'}.weight is missing, beside the other of LongRoPE; download the file again`,
      )
    if (original !== undefined && !isWhole(original, 1))
      throw new ForetokenError(
        'bad_model',
        `${where}: ${prefix}rope.scaling.original_context_length is ${original}; expected a number of tokens`,
      )
    // Without its first context llama.cpp never takes the long ones.
    return longRope({ short, long, amplitude, original: original ?? rope.maxContext }, rope.maxContext)
  }
  if (amplitude !== 1 && amplitude !== 0)
    throw new ForetokenError('unsupported', `${where}: ${prefix}rope.scaling.attn_factor is ${amplitude}; 1 is run`)
  if (type !== undefined && type !== 'none' && type !== 'linear')
    throw new ForetokenError(
      'unsupported',
      `${where}: RoPE scaling ${show(type)} (${prefix}rope.scaling.type); none, linear and llama3 are run`,
    )
  const factor = newer ?? older ?? 0
  const divisor =
    type === 'none' || factor === 0
      ? 1
      : factorOf(factor, `${where}: ${prefix}rope.${newer === undefined ? 'scale_linear' : 'scaling.factor'}`)
  if (factors) return { ropeDivisors: factors.map((each) => each * divisor) }
  return divisor === 1 ? {} : { ropeDivisors: linear(rope, divisor) }
}
