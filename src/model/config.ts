/** Checks the numbers of a model's configuration before they are used. */
import { ForetokenError } from '../base/errors.ts'
import type { LayerShape, ModelConfig } from '../base/model.ts'
import { isWhole } from '../base/numbers.ts'
import { isObject, type Json, show } from './json.ts'
import { limits } from './limits.ts'

/** What a file calls the fields of a config, for messages. */
export type ConfigNames = Readonly<Partial<Record<keyof ModelConfig, string>>>

/** Keys of config.json whose null means that the number follows from others, as in transformers. */
const nullable: ReadonlySet<string> = new Set(['head_dim', 'num_key_value_heads'])

/** Returns the number at `key` of a config.json. Throws `bad_model`, for most keys also for null. */
export function numberOf(json: Json, key: string, where: string, otherwise?: number): number {
  const said = Object.hasOwn(json, key) ? json[key] : undefined
  const value = said === undefined || (said === null && nullable.has(key)) ? otherwise : said
  if (typeof value !== 'number')
    throw new ForetokenError('bad_model', `${where}: ${key} is ${show(value)}, not a number`)
  return value
}

/** Does the same for a number above 0, of at most `most`. */
export function positiveOf(json: Json, key: string, where: string, otherwise?: number, most = 1e6): number {
  const value = numberOf(json, key, where, otherwise)
  if (value > 0 && value <= most) return value
  throw new ForetokenError('bad_model', `${where}: ${key} is ${value}; ${positive(most)}`)
}

/** Does the same for a whole number. */
export function wholeOf(json: Json, key: string, where: string, otherwise?: number): number {
  const value = positiveOf(json, key, where, otherwise)
  if (isWhole(value)) return value
  throw new ForetokenError('bad_model', `${where}: ${key} is ${value}; expected a whole number`)
}

function positive(most: number): string {
  return `expected a positive number of at most ${most}`
}

/** Returns the shape of each layer. */
export function layerShapes(config: ModelConfig): readonly LayerShape[] {
  const { heads, kvHeads, intermediate } = config
  return config.perLayer ?? new Array<LayerShape>(config.layers).fill({ heads, kvHeads, intermediate })
}

/**
 * Returns the fields of a config for layers of these shapes: the largest numbers, and a table of
 * all shapes only if they differ.
 */
export function configOfShapes(
  shapes: readonly LayerShape[],
): Pick<ModelConfig, 'layers' | 'perLayer' | keyof LayerShape> {
  // Math.max with a spread would overflow the stack: a list from a file may have any length.
  const largest = (name: keyof LayerShape) => shapes.reduce((most, shape) => Math.max(most, shape[name]), 0)
  const most = { heads: largest('heads'), kvHeads: largest('kvHeads'), intermediate: largest('intermediate') }
  const alike = shapes.every(
    ({ heads, kvHeads, intermediate }) =>
      heads === most.heads && kvHeads === most.kvHeads && intermediate === most.intermediate,
  )
  return { layers: shapes.length, ...most, ...(!alike && { perLayer: shapes }) }
}

/**
 * Returns true if a field may have this value in JSON, as far as `checkConfig` does not check it.
 */
type FieldRule = (value: unknown) => boolean

const isAny: FieldRule = () => true
const isFlag: FieldRule = (value) => value === undefined || typeof value === 'boolean'
const isList: FieldRule = (value) => value === undefined || Array.isArray(value)

/** Checks for every field of a config. Other fields of a file are ignored. */
const fields: Readonly<Record<keyof ModelConfig, FieldRule>> = {
  architecture: isAny,
  layers: isAny,
  hidden: isAny,
  intermediate: isAny,
  heads: isAny,
  kvHeads: isAny,
  headDim: isAny,
  vocab: isAny,
  maxContext: isAny,
  rmsEps: isAny,
  ropeTheta: isAny,
  ropePairs: (value) => value === 'half' || value === 'adjacent',
  ropeDivisors: isList,
  ropeLong: (value) => value === undefined || isObject(value),
  tiedEmbedding: (value) => typeof value === 'boolean',
  tailFrom: isAny,
  ropeThetas: isList,
  ropeTurned: isAny,
  ropeAmplitude: isAny,
  attentionScale: isAny,
  attentionSoftCap: isAny,
  logitSoftCap: isAny,
  embeddingScale: isAny,
  residualScale: isAny,
  logitScale: isAny,
  qkNorm: isFlag,
  windows: isList,
  convolutions: isList,
  dense: isList,
  perLayer: (value) => value === undefined || (Array.isArray(value) && value.every(isObject)),
}

/**
 * Reads and checks a config that was written as JSON; other fields are dropped. `families` lists
 * the allowed values of `architecture`; `next` is the advice that ends each message. Throws
 * `bad_model`, `unsupported`.
 */
export function configOfJson(value: unknown, families: readonly string[], where: string, next: string): ModelConfig {
  const json = isObject(value) ? value : {}
  const config: Json = {}
  for (const [name, rule] of Object.entries(fields)) {
    const field = Object.hasOwn(json, name) ? json[name] : undefined
    if (!rule(field) || (name === 'architecture' && !families.some((family) => family === field)))
      throw new ForetokenError('bad_model', `${where}: ${name} is ${show(field)}; ${next}`)
    if (field !== undefined) config[name] = field
  }
  const { perLayer, ...same } = config as Partial<ModelConfig>
  const shapes = perLayer?.map(({ heads, kvHeads, intermediate }) => ({ heads, kvHeads, intermediate }))
  return checkConfig({ ...same, ...(shapes && { perLayer: shapes }) } as ModelConfig, where)
}

/**
 * Throws `unsupported` if layers differ in shape or kind. `what` names the caller, which has one width of K and V.
 */
export function requireAlike({ perLayer, convolutions, architecture }: ModelConfig, what: string): void {
  const convolving = convolutions?.flatMap((taps, layer) => (taps > 0 ? layer : [])) ?? []
  if (convolving.length > 0)
    throw new ForetokenError(
      'unsupported',
      `${what} needs layers that all have attention, and ${convolving.length} of the ${convolutions?.length} of this ` +
        `${architecture} model, from layer ${convolving[0]} on, are convolutions, which have no keys and values; ` +
        'run it with exact prefill',
    )
  if (perLayer)
    throw new ForetokenError(
      'unsupported',
      `${what} needs layers of one shape, and those of this ${architecture} model differ; run it with exact prefill`,
    )
}

/** Returns the refusal of an answer by a model whose tokens see those behind them. */
export function withoutAnswers({ architecture }: ModelConfig): ForetokenError {
  return new ForetokenError(
    'unsupported',
    `a ${architecture} model makes embeddings and no answers, since its tokens see those behind them: use embed ` +
      '(POST /v1/embeddings), or another model',
  )
}

/**
 * Limits of the whole numbers of a config, which begin at 1. They are far above published models;
 * comments give the largest known value.
 */
const wholeNumbers = {
  layers: 1024, // 126: Llama 3.1 405B
  hidden: limits.width,
  headDim: 256, // 256: Gemma; also the limit of the kernels
  vocab: limits.tokens,
  maxContext: limits.context,
} as const

/** Returns a number of layers, before lists are made of that length. Throws `bad_model`. */
export function checkedLayers(layers: number, name: string, where: string): number {
  if (!isWhole(layers, 1, wholeNumbers.layers))
    throw new ForetokenError(
      'bad_model',
      `${where}: ${name} is ${show(layers)}; expected a whole number from 1 to ${wholeNumbers.layers}`,
    )
  return layers
}

/** Limits of the whole numbers of each layer. */
const wholeNumbersOfLayers = {
  intermediate: 1 << 18, // 53,248: Llama 3.1 405B
  heads: 1024, // 128: Llama 3.1 405B
  kvHeads: 1024, // 128: models without shared heads
} as const

/** Ranges of other numbers, without the first value and with the second. */
const positiveNumbers = {
  rmsEps: [0, 1], // 1e-5 or 1e-6
  ropeTheta: [0, 1e15], // 1e11: Falcon H1
} as const

/** Returns a base of RoPE that `name` of a file gives; 0 would mean no rotation. Throws `bad_model`. */
export function checkedTheta(theta: number, name: string, where: string): number {
  const [above, most] = positiveNumbers.ropeTheta
  if (theta > above && theta <= most) return theta
  throw new ForetokenError('bad_model', `${where}: ${name} is ${theta}; ${positive(most)}`)
}

/** The same for numbers that a config may lack. */
const optionalNumbers = {
  ropeAmplitude: [0, 16], // 1.19: Phi-4-mini
  attentionScale: [0, 16], // 0.0078: Granite 3
  attentionSoftCap: [0, 1e6], // 50: Gemma 2
  logitSoftCap: [0, 1e6], // 30: Gemma 2
  embeddingScale: [0, 1e6], // 73: Gemma 3 27B
  residualScale: [0, 1e6], // 0.22: Granite 3
  logitScale: [0, 1e6], // 1/8: Granite 3
} as const

/** Most dense layers behind the pooling of an embedding. EmbeddingGemma has 2. */
const mostDense = 4

/** Most taps of a short convolution. LFM2 has 3. */
export const mostTaps = 16

/**
 * Limit of the K values of one token in all layers: with it a page of 16 tokens' K and V in f32
 * stays below 2 GiB. Llama 3.1 405B has 129,024.
 */
const mostKeyValues = 2 ** 24 - 1

/** Bounds of RoPE divisors and of the factor of a scaling. The largest published factor is 64. */
export const ropeFactors = { least: 1 / 1024, most: 4096 } as const

/**
 * Returns the config if all its numbers are consistent. `names` are those of the file that it is from.
 * Throws `bad_model`, `unsupported`.
 */
export function checkConfig(config: ModelConfig, where: string, names: ConfigNames = {}): ModelConfig {
  const bad = (what: string) => new ForetokenError('bad_model', `${where}: ${what}`)
  const nameOf = (field: string) => names[field as keyof ModelConfig] ?? field
  const whole = (of: Partial<ModelConfig>, most: Readonly<Partial<Record<keyof ModelConfig, number>>>) => {
    for (const [name, limit] of Object.entries(most)) {
      const value = of[name as keyof ModelConfig]
      const least = name === 'maxContext' ? 2 : 1
      if (!isWhole(value, least, limit))
        throw bad(`${nameOf(name)} is ${show(value)}; expected a whole number from ${least} to ${limit}`)
    }
  }
  whole(config, wholeNumbers)
  const { layers, headDim, perLayer } = config
  if (perLayer && perLayer.length !== layers) throw bad(`shapes of ${perLayer.length} layers, not ${layers}`)
  for (const shape of [config, ...(perLayer ?? [])]) {
    whole(shape, wholeNumbersOfLayers)
    const { heads, kvHeads } = shape
    // If layers differ, the config itself has the largest numbers, possibly of different layers.
    if (heads % kvHeads !== 0 && !(perLayer && shape === config))
      throw bad(`${heads} heads can't share ${kvHeads} KV heads evenly (${nameOf('heads')}, ${nameOf('kvHeads')})`)
  }
  if (headDim % 2 !== 0) throw bad(`${nameOf('headDim')} is ${headDim}, and RoPE turns pairs`)
  if (headDim % 8 !== 0)
    throw new ForetokenError(
      'unsupported',
      `${where}: heads of ${headDim} (${nameOf('headDim')}); multiples of 8 up to 256 are run`,
    )
  const { hidden, convolutions, dense = [] } = config
  if (dense.length > mostDense || !dense.every((width) => isWhole(width, 1, wholeNumbers.hidden)))
    throw bad(`widths of dense layers are ${show(dense)}; expected at most ${mostDense}, up to ${wholeNumbers.hidden}`)
  if (convolutions) checkConvolutions(convolutions, config, where)
  const kept = Math.max(config.kvHeads * headDim, convolutions ? hidden / 2 : 0)
  if (layers * kept > mostKeyValues)
    throw bad(
      `${layers} layers of ${config.kvHeads} KV heads of ${headDim}${convolutions ? `, or convolutions of ${hidden} channels,` : ''} keep more for a token than any model should`,
    )
  for (const [name, [above, most]] of Object.entries({ ...positiveNumbers, ...optionalNumbers })) {
    const value = config[name as keyof ModelConfig]
    if (value === undefined && Object.hasOwn(optionalNumbers, name)) continue
    if (typeof value !== 'number' || !(value > above && value <= most))
      throw bad(`${nameOf(name)} is ${show(value)}; ${positive(most)}`)
  }
  const { tailFrom, vocab, tiedEmbedding, ropeDivisors, ropeLong, windows } = config
  const { ropeThetas, ropeTurned = headDim } = config
  if (tailFrom !== undefined && !(tiedEmbedding && isWhole(tailFrom, 1, vocab - 1)))
    throw bad(`the embedding is cut at row ${show(tailFrom)} of ${vocab}`)
  if (windows && !(windows.length === layers && windows.every((window) => isWhole(window, 0, wholeNumbers.maxContext))))
    throw bad(`windows of attention are ${show(windows)}; expected a number of tokens for each of ${layers} layers`)
  const isTheta = (theta: unknown) => typeof theta === 'number' && theta >= 0 && theta <= positiveNumbers.ropeTheta[1]
  if (ropeThetas && !(ropeThetas.length === layers && ropeThetas.every(isTheta)))
    throw bad(
      `${names.ropeThetas ?? 'bases of RoPE'} are ${show(ropeThetas)}; expected a number for each of ${layers} layers`,
    )
  if (!isWhole(ropeTurned, 2, headDim) || ropeTurned % 2 !== 0)
    throw bad(
      `RoPE turns ${show(ropeTurned)} components of heads of ${headDim}${names.ropeTurned ? ` (${names.ropeTurned})` : ''}; expected an even number of them`,
    )
  if (ropeDivisors) checkDivisors(ropeDivisors, ropeTurned, where)
  if (ropeLong) {
    const { beyond, divisors } = ropeLong
    if (!isWhole(beyond, 1, config.maxContext - 1) || !Array.isArray(divisors))
      throw bad(
        `long sequences of RoPE begin behind ${show(beyond)} tokens of ${config.maxContext}, by ${show(divisors)}`,
      )
    checkDivisors(divisors, ropeTurned, where)
  }
  return config
}

/** A page holds half of a layer's channels as heads of K, and half as heads of V. */
function checkConvolutions(taps: readonly number[], { layers, hidden, headDim }: ModelConfig, where: string): void {
  if (!(taps.length === layers && taps.every((count) => isWhole(count, 0, mostTaps))))
    throw new ForetokenError(
      'bad_model',
      `${where}: taps of convolutions are ${show(taps)}; expected a number from 0 to ${mostTaps} for each of ${layers} layers`,
    )
  if (hidden % (2 * headDim) !== 0)
    throw new ForetokenError(
      'unsupported',
      `${where}: convolutions of ${hidden} channels beside heads of ${headDim}; multiples of ${2 * headDim} channels are run`,
    )
}

/** Throws `bad_model` for divisors that are not one for each pair. `name` is what gives them. */
export function checkDivisors(divisors: readonly number[], turned: number, where: string, name = 'RoPE scaling'): void {
  const odd = divisors.find((x) => !(typeof x === 'number' && x >= ropeFactors.least && x <= ropeFactors.most))
  if (divisors.length !== turned / 2 || odd !== undefined)
    throw new ForetokenError(
      'bad_model',
      `${where}: ${name} has ${divisors.length} factors${odd === undefined ? '' : `, one of them ${show(odd)}`}; ` +
        `heads that turn ${turned} components take ${turned / 2} from ${ropeFactors.least} to ${ropeFactors.most}`,
    )
}
