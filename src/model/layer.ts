/** Joins a layer's recipe with its weights, and sizes the buffers that all layers need. */
import type { Backend, KvPoolSpec, Limits, Tensor, Weight } from '../backend/backend.ts'
import { ForetokenError } from '../base/errors.ts'
import type { KvType } from '../base/kv.ts'
import type { ConvolutionSpec, LayerSpec, ModelConfig, ModelSpec, RopeSpec } from '../base/model.ts'
import { type KeyBalance, queryFactors } from './key-balance.ts'
import type { LoadedWeights } from './load.ts'

/** A layer of either kind. */
export type Layer = AttentionLayer | ConvolutionLayer

/** What both kinds have. */
interface CommonLayer extends LayerSpec {
  readonly attnNorm: Tensor | undefined // (1, hidden)
  readonly attnOutNorm: Tensor | undefined // (1, hidden)
  readonly ffnNorm: Tensor | undefined // (1, hidden)
  readonly gate: Weight // (intermediate, hidden)
  readonly up: Weight // (intermediate, hidden)
  readonly down: Weight // (hidden, intermediate)
  readonly ffnOutNorm: Tensor | undefined // (1, hidden)
}

export interface ConvolutionLayer extends CommonLayer {
  readonly convolution: ConvolutionSpec
  readonly convIn: Weight // (3 hidden, hidden): b, c and x
  readonly conv: Tensor // (1, taps * hidden), the oldest tap first
  readonly convOut: Weight // (hidden, hidden)
}

export interface AttentionLayer extends CommonLayer {
  readonly convolution?: never
  /** Index of its rotation among those of the model; undefined for a layer without rotation. */
  readonly turn: number | undefined
  readonly q: Weight // (heads * headDim, hidden)
  readonly k: Weight // (kvHeads * headDim, hidden)
  readonly v: Weight // (kvHeads * headDim, hidden)
  readonly qBias: Tensor | undefined
  readonly kBias: Tensor | undefined
  readonly vBias: Tensor | undefined
  readonly qNorm: Tensor | undefined // (1, headDim), or (1, heads * headDim)
  readonly kNorm: Tensor | undefined // (1, headDim), or (1, kvHeads * headDim)
  readonly balance: Balance | undefined
  readonly o: Weight // (hidden, heads * headDim)
  readonly oBias: Tensor | undefined
}

/** The `KeyBalance` of a layer in the backend. */
export interface Balance {
  readonly kOffset: Tensor // (1, kvHeads * headDim)
  readonly kFactors: Tensor // (1, kvHeads * headDim)
  readonly qFactors: Tensor // (1, heads * headDim)
}

/**
 * Joins the recipe of each layer with its weights and its key balance. Throws `bad_model` for a
 * weight that is missing.
 */
export function layersOf(
  backend: Backend,
  spec: ModelSpec,
  weights: LoadedWeights,
  balances: readonly (KeyBalance | undefined)[],
): Layer[] {
  const ropes = ropesOf(spec)
  return spec.layers.map((layer, index): Layer => {
    const matrix = (name: string) => weights.matrix(`layers.${index}.${name}`)
    const vector = (wanted: boolean, name: string) => (wanted ? weights.vector(`layers.${index}.${name}`) : undefined)
    const { norms, biases, qkNorms, rope, heads, convolution, ...rest } = layer
    const common = {
      ...rest,
      ...{ norms, biases, qkNorms, heads, ...(rope && { rope }) },
      attnNorm: vector(norms.beforeAttention, 'attnNorm'),
      attnOutNorm: vector(norms.afterAttention, 'attnOutNorm'),
      ffnNorm: vector(norms.beforeMlp, 'ffnNorm'),
      gate: matrix('gate'),
      up: matrix('up'),
      down: matrix('down'),
      ffnOutNorm: vector(norms.afterMlp, 'ffnOutNorm'),
    }
    if (convolution)
      return {
        ...common,
        convolution,
        convIn: matrix('convIn'),
        conv: weights.vector(`layers.${index}.conv`),
        convOut: matrix('convOut'),
      }
    const balance = balances[index]
    return {
      ...common,
      turn: rope && ropes.indexOf(rope),
      q: matrix('q'),
      k: matrix('k'),
      v: matrix('v'),
      qBias: vector(biases.qkv, 'qBias'),
      kBias: vector(biases.qkv, 'kBias'),
      vBias: vector(biases.qkv, 'vBias'),
      qNorm: vector(qkNorms !== 'none', 'qNorm'),
      kNorm: vector(qkNorms !== 'none', 'kNorm'),
      balance: balance && {
        kOffset: backend.vector(balance.offset),
        kFactors: backend.vector(balance.factors),
        qFactors: backend.vector(queryFactors(balance.factors, heads, spec.headDim)),
      },
      o: matrix('o'),
      oBias: vector(biases.output, 'oBias'),
    }
  })
}

/**
 * Returns the distinct rotations of the layers. A family gives layers that rotate alike the same
 * object.
 */
export function ropesOf({ layers }: ModelSpec): readonly RopeSpec[] {
  return [...new Set(layers.flatMap(({ rope, convolution }) => (rope && !convolution ? rope : [])))]
}

/**
 * Returns the limits of passes of `tokens`, with products of up to `inputs` columns in addition to
 * the model's own.
 */
export function limitsOf(
  { hidden, intermediate, heads, headDim, dense = [] }: ModelConfig,
  spec: ModelSpec,
  { tokens, inputs, pageEntries }: { tokens: number; inputs: number; pageEntries?: number | undefined },
): Limits {
  const { layers } = spec
  return {
    tokens,
    maxK: dense.reduce((most, width) => Math.max(most, width), Math.max(hidden, intermediate, heads * headDim, inputs)),
    headDim,
    groups: [...new Set(layers.flatMap(({ heads, kvHeads, convolution }) => (convolution ? [] : heads / kvHeads)))],
    ropes: ropesOf(spec),
    ...(pageEntries !== undefined && { pageEntries }),
  }
}

export interface BufferSizes {
  /** Maximum number of tokens in a pass. */
  readonly passTokens: number
  /** Maximum number of rows of logits at once. */
  readonly logitRows: number
}

/** Returns the size of each activation tensor of a pass, (rows, columns). */
export function buffersOf(config: ModelConfig, spec: ModelSpec, { passTokens, logitRows }: BufferSizes) {
  const { hidden, intermediate, heads, headDim, vocab } = config
  // Holds the output of attention, unless it is added to the residual stream at once.
  const aside = spec.layers.some((layer) => !addsAtOnce(layer)) ? hidden : 0
  const mixed = projectedColumns(config, spec)
  return {
    x: [passTokens, hidden],
    h: [passTokens, Math.max(hidden, heads * headDim)],
    wide: [passTokens, Math.max(mixed, 2 * intermediate, aside)],
    last: [logitRows, hidden],
    logits: [logitRows, vocab],
  } as const
}

/** Returns the columns of what a layer projects its input to: q, k and v, or b, c and x. */
export function projectedColumns({ hidden, heads, kvHeads, headDim }: ModelConfig, { layers }: ModelSpec): number {
  const convolves = layers.some(({ convolution }) => convolution)
  return Math.max((heads + 2 * kvHeads) * headDim, convolves ? 3 * hidden : 0)
}

/** Number of texts whose vectors go through dense layers at once. */
const denseRows = 16

/** Returns the size of the input and of each output of the dense layers, (rows, columns); none without them. */
export function denseBuffers({ hidden, dense = [] }: ModelConfig): (readonly [number, number])[] {
  return dense.length === 0 ? [] : [hidden, ...dense].map((width) => [denseRows, width] as const)
}

/** Returns the bytes of the activations of a pass. */
export function activationBytes(config: ModelConfig, spec: ModelSpec, sizes: BufferSizes): number {
  const buffers = [...Object.values(buffersOf(config, spec, sizes)), ...denseBuffers(config)]
  return buffers.reduce((sum, [rows, cols]) => sum + rows * cols * 4, 0)
}

/**
 * Returns true if the halves of a layer may be added to the residual stream by the products
 * themselves.
 */
export function addsAtOnce({ norms, biases, residualScale }: LayerSpec): boolean {
  return !norms.afterAttention && !norms.afterMlp && !biases.output && residualScale === 1
}

/** Returns the shape of the pages that hold K, V and inputs of convolutions of such a model. */
export function poolSpecOf({ headDim, layers }: ModelSpec, type: KvType): KvPoolSpec {
  const layerKvHeads = layers.map(({ kvHeads }) => kvHeads)
  return {
    type,
    layers: layers.length,
    kvHeads: layerKvHeads.reduce((most, kvHeads) => Math.max(most, kvHeads), 0),
    headDim,
    layerKvHeads,
    convolutions: layers.map(({ convolution }) => convolution !== undefined),
  }
}

/** Throws `unsupported` for layers whose cache says more of a token than its K and V. */
export function requireKeysAndValues({ family, layers }: ModelSpec, what: string): void {
  const index = layers.findIndex(({ convolution }) => convolution)
  if (index >= 0)
    throw new ForetokenError(
      'unsupported',
      `${what} needs K and V in every layer, and layer ${index} of this ${family} model is a convolution`,
    )
}

/** Returns whether layers see tokens behind their own, so that a text has to be read in one pass. */
export function seesBothWays({ layers }: ModelSpec): boolean {
  return layers.some(({ attention }) => attention.bothWays)
}

/** Throws `unsupported` for layers that see only a part of the context. */
export function requireWholeContext({ family, layers }: ModelSpec, what: string): void {
  const window = layers.find(({ attention }) => attention.window !== undefined)?.attention.window
  if (window !== undefined)
    throw new ForetokenError(
      'unsupported',
      `${what} needs layers that see the whole context, and this ${family} model has some that see ${window} tokens`,
    )
}
