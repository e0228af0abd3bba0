/**
 * Evens out the channels of K before pages store them. int8 pages have one step for all channels of
 * a head, so that a channel with a large bias leaves the others a handful of steps. Two changes,
 * neither of which changes what attention computes:
 *
 * - **An offset is taken off K**, the same at all positions: it adds one number to all scores of a query, which softmax does not see. RoPE
 *   turns the bias with the position; the offset is its mean over the positions of a context. Channels that turn slowly, where trained
 *   models have their large biases, are left with next to nothing.
 * - **What is left is divided by a power of two** where it still stands out, and the same channel of the queries multiplied by it
 *   (SmoothQuant, arXiv 2211.10438, with the bias in place of measured activations). Both channels of a RoPE pair have one factor.
 */

import { defined } from '../base/at.ts'
import { sha256Hex } from '../base/hash.ts'
import type { ModelArchive, ModelConfig } from '../base/model.ts'
import { vectorOf } from './load.ts'

/** How pages hold a layer's K: (K + offset) * factors, by channel, (kvHeads * headDim) each. */
export interface KeyBalance {
  readonly offset: Float32Array<ArrayBuffer>
  /** Powers of two of at most 1. */
  readonly factors: Float32Array<ArrayBuffer>
  /** Maximum distance of the bias of a channel pair from the offset. */
  readonly left: number
}

/**
 * Size of a channel's bias up to which it is not balanced; keys without a bias are about as large.
 */
const plainSize = 8

/**
 * Positions that the offset is the mean of, unless the model was made for fewer. A model's pages
 * are the same in every engine.
 */
const positions = 4096

/**
 * Bias above which the steps of int8 pages show: one of 300 that turns fast raises NLL by 2 to 3 %,
 * one of 100 by less than 1 %.
 */
const mostInInt8 = 128

/**
 * Returns how to balance a layer whose K has this bias, (kvHeads * headDim); undefined if no
 * channel stands out.
 */
export function keyBalance(bias: Float32Array, config: ModelConfig): KeyBalance | undefined {
  const { headDim, ropePairs, ropeTheta, ropeDivisors, maxContext } = config
  const offset = new Float32Array(bias.length)
  const factors = new Float32Array(bias.length).fill(1)
  let [any, most] = [false, 0]
  for (let head = 0; head < bias.length; head += headDim)
    for (let pair = 0; pair < headDim / 2; pair++) {
      const [i, j] = ropePairs === 'half' ? [pair, pair + headDim / 2] : [2 * pair, 2 * pair + 1]
      const [x, y] = [defined(bias[head + i]), defined(bias[head + j])]
      const size = Math.hypot(x, y)
      if (size <= plainSize) continue
      any = true
      const frequency = ropeTheta ** ((-2 * pair) / headDim) / (ropeDivisors?.[pair] ?? 1)
      const half = (frequency * Math.min(positions, maxContext)) / 2
      // The mean of a bias that turns through an arc lies in its middle, and nearer to the centre
      // the longer it is.
      const mean = half < Math.PI ? Math.sin(half) / half : 0
      const [cos, sin] = [mean * Math.cos(half), mean * Math.sin(half)]
      offset[head + i] = -(x * cos - y * sin)
      offset[head + j] = -(x * sin + y * cos)
      const left = size * Math.max(Math.hypot(1 - cos, sin), 1 - mean)
      most = Math.max(most, left)
      const factor = left <= plainSize ? 1 : 2 ** -Math.ceil(Math.log2(left / plainSize))
      factors[head + i] = factor
      factors[head + j] = factor
    }
  return any ? { offset, factors, left: most } : undefined
}

/**
 * Returns the factors of the queries' channels, (heads * headDim). Neighbouring heads share a head
 * of K.
 */
export function queryFactors(keys: Float32Array, heads: number, headDim: number): Float32Array<ArrayBuffer> {
  const group = (heads * headDim) / keys.length
  return Float32Array.from({ length: heads * headDim }, (_, channel) => {
    const head = Math.floor(channel / headDim / group)
    return 1 / defined(keys[head * headDim + (channel % headDim)])
  })
}

/** Restores K as the model makes it from what pages hold: (kvHeads, tokens, headDim), in place. */
export function undoBalance(k: Float32Array, { offset, factors }: KeyBalance, headDim: number): void {
  const tokens = k.length / offset.length
  for (let at = 0; at < k.length; at++) {
    const channel = Math.floor(at / (tokens * headDim)) * headDim + (at % headDim)
    k[at] = defined(k[at]) / defined(factors[channel]) - defined(offset[channel])
  }
}

/**
 * Hashes the weights' `identity` with how pages hold their K, in hex; undefined if nothing is
 * balanced.
 */
export async function balanceHash(
  balances: readonly (KeyBalance | undefined)[],
  identity: string,
): Promise<string | undefined> {
  if (balances.every((balance) => balance === undefined)) return undefined
  const values = balances.map((balance) => balance && [Array.from(balance.offset), Array.from(balance.factors)])
  return sha256Hex(new TextEncoder().encode(JSON.stringify({ identity, balance: values })))
}

/** Returns the balances of a model that is not loaded, by layer. Reads the biases of K. */
export async function keyBalances({ config, tensors }: ModelArchive): Promise<(KeyBalance | undefined)[]> {
  const balances: (KeyBalance | undefined)[] = []
  for (let layer = 0; layer < config.layers; layer++) {
    const tensor = tensors.get(`layers.${layer}.kBias`)
    balances.push(tensor && keyBalance(await vectorOf(tensor), config))
  }
  return balances
}

/**
 * Returns a warning, with the numbers, for engines that store K in int8 when a bias is too large
 * even after balancing.
 */
export function int8Warnings(name: string, balances: readonly (KeyBalance | undefined)[]): string[] {
  const odd = [...balances.entries()].filter(([, balance]) => (balance?.left ?? 0) > mostInInt8)
  if (odd.length === 0) return []
  const leftOf = ([, balance]: (typeof odd)[number]) => balance?.left ?? 0
  const worst = odd.reduce((most, one) => (leftOf(one) > leftOf(most) ? one : most))
  const [layer] = worst
  const [size, step] = [Math.round(leftOf(worst)), ((2 * leftOf(worst)) / 254).toFixed(1)]
  return [
    `${name}: the bias of K moves a channel of layer ${layer} by ${size}` +
      `${odd.length > 1 ? `, and of ${odd.length - 1} other layers by more than ${mostInInt8}` : ''}: in int8 pages that is a step of ` +
      `${step}, which may cost accuracy; store K and V as f16 (--kv f16)`,
  ]
}
