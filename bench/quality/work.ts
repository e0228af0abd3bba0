/**
 * Computes the work of each method's prefill relative to exact prefill of the same prompt, in
 * multiply-adds: products of all layers, attention at the prompt's length, and one row of scores.
 */

import { kvWidth } from '../../src/base/kv.ts'
import type { ModelConfig } from '../../src/base/model.ts'
import { skippingPlan } from '../../src/evaluate/skipped.ts'
import { exactWork, layerWork, sharedShare } from '../../src/predict/cost.ts'

/** Returns the share of a prompt of which `kept` tokens are left. */
export function keptShare(config: ModelConfig, length: number, kept: number): number {
  return exactWork(config, 0, kept) / exactWork(config, 0, length)
}

/** Returns the share of the first `layers` layers, whose last state gives the scores. */
export function firstLayersShare(config: ModelConfig, length: number, layers: number): number {
  return (layers * layerWork(config, 0, length) + scoresWork(config)) / exactWork(config, 0, length)
}

/**
 * Returns the share when all tokens run through the layers below `layer`, and `keep` of them through
 * the others. Choosing them takes the keys of all tokens and the last one's query.
 */
export function prunedShare(
  config: ModelConfig,
  length: number,
  { layer, keep }: { readonly layer: number; readonly keep: number },
): number {
  const { layers, hidden, heads, headDim } = config
  const choosing = length * hidden * kvWidth(config) + hidden * heads * headDim + length * heads * headDim
  const work = layer * layerWork(config, 0, length) + choosing + (layers - layer) * layerWork(config, 0, keep)
  return (work + scoresWork(config)) / exactWork(config, 0, length)
}

/** The layers that are skipped, `from` on, and the number of tokens at the end that skip none. */
export interface SkippedPart {
  readonly from: number
  readonly window: number
}

/**
 * Returns the share when all tokens but the first 4 and the last `window` skip layers and only get
 * K and V there. Maps that were fitted cost what the layers' own weights for K and V do.
 */
export function skippedShare(config: ModelConfig, length: number, { from, window }: SkippedPart): number {
  const plan = skippingPlan(from, window)
  const until = Math.max(plan.sinks, length - window)
  if (from >= config.layers || until === plan.sinks) return 1
  return sharedShare(config, plan, { length, first: 0, from: plan.sinks, until })
}

/**
 * Returns what to skip for a share of the work: as few layers as fit, and then as many exact tokens
 * at the end.
 */
export function skippedFor(config: ModelConfig, length: number, share: number): SkippedPart {
  const shareOf = (from: number, window: number) => skippedShare(config, length, { from, window })
  const from = largest(1, config.layers, (from) => shareOf(from, 1) <= share)
  return { from, window: largest(1, length, (window) => shareOf(from, window) <= share) }
}

/** Returns the largest whole number from `least` to `most` that fits, or `least` if none does. */
export function largest(least: number, most: number, fits: (value: number) => boolean): number {
  let [low, high] = [least, most]
  while (low < high) {
    const middle = Math.ceil((low + high) / 2)
    if (fits(middle)) low = middle
    else high = middle - 1
  }
  return low
}

function scoresWork({ vocab, hidden }: ModelConfig): number {
  return vocab * hidden
}
