/** Checks on what a model says of itself, whatever file it came from. */
import { ForetokenError } from '../errors.ts'
import type { ModelConfig } from '../types.ts'

export const architectures = ['llama', 'qwen2', 'qwen3'] as const

/** `name` as an architecture that we have. Throws `unsupported`. */
export function architectureOf(name: unknown, where: string): ModelConfig['architecture'] {
  const known = architectures.find((architecture) => architecture === name)
  if (!known)
    throw new ForetokenError(
      'unsupported',
      `${where}: architecture ${JSON.stringify(name)}; foretoken runs ${architectures.join(', ')}`,
    )
  return known
}

/** The config, if all its numbers make sense together. Throws `bad_model`, `unsupported`. */
export function checkConfig(config: ModelConfig, where: string): ModelConfig {
  const whole = (name: keyof ModelConfig, most: number) => {
    const value = config[name]
    if (!Number.isSafeInteger(value) || (value as number) < 1 || (value as number) > most)
      throw new ForetokenError(
        'bad_model',
        `${where}: ${name} is ${String(value)}; expected a whole number from 1 to ${most}`,
      )
  }
  whole('layers', 1024)
  whole('hidden', 1 << 16)
  whole('intermediate', 1 << 18)
  whole('heads', 1024)
  whole('kvHeads', 1024)
  whole('headDim', 256)
  whole('vocab', 1 << 20)
  whole('maxContext', 1 << 24)
  if (config.heads % config.kvHeads !== 0)
    throw new ForetokenError(
      'bad_model',
      `${where}: ${config.heads} heads can't share ${config.kvHeads} KV heads evenly`,
    )
  if (config.headDim % 8 !== 0)
    throw new ForetokenError('unsupported', `${where}: heads of ${config.headDim}; multiples of 8 up to 256 are run`)
  for (const name of ['rmsEps', 'ropeTheta'] as const)
    if (!(config[name] > 0 && Number.isFinite(config[name])))
      throw new ForetokenError('bad_model', `${where}: ${name} is ${config[name]}; expected a positive number`)
  const { ropeDivisors } = config
  if (
    ropeDivisors &&
    (ropeDivisors.length !== config.headDim / 2 || !ropeDivisors.every((x) => x > 0 && Number.isFinite(x)))
  )
    throw new ForetokenError(
      'bad_model',
      `${where}: RoPE scaling has ${ropeDivisors.length} factors, or one that is not positive`,
    )
  return config
}

/**
 * Divisors of the RoPE frequencies for Llama 3's scaling: long wavelengths are stretched by `factor`, short ones kept,
 * and those between `low` and `high` turns in the original context blended (transformers, modeling_rope_utils).
 */
export function llama3Divisors(
  rope: { headDim: number; theta: number },
  scaling: { factor: number; low: number; high: number; original: number },
): number[] {
  return Array.from({ length: rope.headDim / 2 }, (_, f) => {
    const wavelength = 2 * Math.PI * rope.theta ** ((2 * f) / rope.headDim)
    const turns = scaling.original / wavelength
    if (turns < scaling.low) return scaling.factor
    if (turns > scaling.high) return 1
    const smooth = (turns - scaling.low) / (scaling.high - scaling.low)
    return 1 / ((1 - smooth) / scaling.factor + smooth)
  })
}
