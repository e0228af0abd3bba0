/** Checks on what a model says of itself, whatever file it came from. */
import { ForetokenError } from '../errors.ts'
import type { LayerShape, ModelConfig } from '../types.ts'

type Architecture = ModelConfig['architecture']

/** What is run from each kind of file. */
const architectures: Readonly<Record<'GGUF' | 'safetensors', readonly Architecture[]>> = {
  GGUF: ['llama', 'qwen2', 'qwen3'],
  safetensors: ['llama', 'qwen2', 'qwen3', 'openelm'],
}

/** `name` as an architecture that we run from such a file. Throws `unsupported`. */
export function architectureOf(name: unknown, form: keyof typeof architectures, where: string): Architecture {
  const known = architectures[form].find((architecture) => architecture === name)
  if (!known)
    throw new ForetokenError(
      'unsupported',
      `${where}: architecture ${JSON.stringify(name)}; foretoken runs ${architectures[form].join(', ')} from ${form}`,
    )
  return known
}

/** The number at `key` of a config.json. Throws `bad_model`. */
export function numberOf(
  json: Readonly<Record<string, unknown>>,
  key: string,
  where: string,
  otherwise?: number,
): number {
  const value = json[key] ?? otherwise
  if (typeof value !== 'number')
    throw new ForetokenError('bad_model', `${where}: ${key} is ${JSON.stringify(value)}, not a number`)
  return value
}

/** The shape of each layer, (layers). */
export function layerShapes(config: ModelConfig): readonly LayerShape[] {
  const { heads, kvHeads, intermediate } = config
  return config.perLayer ?? new Array<LayerShape>(config.layers).fill({ heads, kvHeads, intermediate })
}

/** What a config says of layers of these shapes: the largest numbers, and a table only if they differ. */
export function configOfShapes(
  shapes: readonly LayerShape[],
): Pick<ModelConfig, 'layers' | 'perLayer' | keyof LayerShape> {
  // Not Math.max with a spread: a list from a file may be of any length.
  const largest = (name: keyof LayerShape) => shapes.reduce((most, shape) => Math.max(most, shape[name]), 0)
  const most = { heads: largest('heads'), kvHeads: largest('kvHeads'), intermediate: largest('intermediate') }
  const alike = shapes.every(
    ({ heads, kvHeads, intermediate }) =>
      heads === most.heads && kvHeads === most.kvHeads && intermediate === most.intermediate,
  )
  return { layers: shapes.length, ...most, ...(!alike && { perLayer: shapes }) }
}

/** Throws `unsupported` where layers differ: `what` has one width of K and V for all. */
export function requireAlike({ perLayer, architecture }: ModelConfig, what: string): void {
  if (perLayer)
    throw new ForetokenError(
      'unsupported',
      `${what} needs layers of one shape, and those of this ${architecture} model differ; run it with exact prefill`,
    )
}

/** The config, if all its numbers make sense together. Throws `bad_model`, `unsupported`. */
export function checkConfig(config: ModelConfig, where: string): ModelConfig {
  const whole = (name: keyof ModelConfig, most: number, of: Partial<ModelConfig> = config) => {
    const value = of[name]
    if (!Number.isSafeInteger(value) || (value as number) < 1 || (value as number) > most)
      throw new ForetokenError(
        'bad_model',
        `${where}: ${name} is ${String(value)}; expected a whole number from 1 to ${most}`,
      )
  }
  whole('layers', 1024)
  whole('hidden', 1 << 16)
  whole('headDim', 256)
  whole('vocab', 1 << 20)
  whole('maxContext', 1 << 24)
  if (config.perLayer && config.perLayer.length !== config.layers)
    throw new ForetokenError('bad_model', `${where}: shapes of ${config.perLayer.length} layers, not ${config.layers}`)
  for (const shape of [config, ...(config.perLayer ?? [])]) {
    whole('intermediate', 1 << 18, shape)
    whole('heads', 1024, shape)
    whole('kvHeads', 1024, shape)
  }
  for (const { heads, kvHeads } of layerShapes(config))
    if (heads % kvHeads !== 0)
      throw new ForetokenError('bad_model', `${where}: ${heads} heads can't share ${kvHeads} KV heads evenly`)
  if (config.headDim % 8 !== 0)
    throw new ForetokenError('unsupported', `${where}: heads of ${config.headDim}; multiples of 8 up to 256 are run`)
  for (const name of ['rmsEps', 'ropeTheta'] as const)
    if (!(config[name] > 0 && Number.isFinite(config[name])))
      throw new ForetokenError('bad_model', `${where}: ${name} is ${config[name]}; expected a positive number`)
  const { tailFrom, vocab, tiedEmbedding } = config
  if (tailFrom !== undefined && !(tiedEmbedding && Number.isInteger(tailFrom) && tailFrom > 0 && tailFrom < vocab))
    throw new ForetokenError('bad_model', `${where}: the embedding is cut at row ${tailFrom} of ${vocab}`)
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
