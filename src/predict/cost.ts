/** Computes the work of a predicted prefill relative to an exact one, in multiply-adds. */

import { kvWidth } from '../base/kv.ts'
import type { ModelConfig } from '../base/model.ts'
import { type SeparatePlan, type SharedPlan, sourcesOf } from './plan.ts'

/** The places of exact and predicted tokens of a prompt. */
export interface Stretch {
  /** Number of tokens of the prompt. */
  readonly length: number
  /** Number of tokens at the front that a cache held. */
  readonly first: number
  /** Tokens `from`..`until` - 1 are predicted. */
  readonly from: number
  readonly until: number
}

/**
 * Returns the share of an exact prefill's work, including the exact window and the vocabulary
 * projection of one row.
 */
export function sharedShare(config: ModelConfig, plan: SharedPlan, { length, first, from, until }: Stretch): number {
  const { layers, hidden } = config
  const exact = exactWork(config, first, length)
  const sources = sourcesOf(plan, layers)
  const run = plan.shared + sources.reduce((sum, { run }) => sum + (run ? run.to - run.from : 0), 0)
  const maps = sources.reduce(
    (sum, { maps, taps, run }) => {
      return sum + (1 + taps) * hidden * (maps.length * 2 * kvWidth(config) + (run ? hidden : 0))
    },
    hidden * 2 * kvWidth(config),
  )
  const saved = (layers - run) * layerWork(config, from, until) - (until - from) * maps
  return (exact - saved) / exact
}

/**
 * Returns the same share when predicted tokens, and those before them, run through an auxiliary
 * model.
 */
export function separateShare(
  config: ModelConfig,
  auxiliary: ModelConfig,
  { map }: SeparatePlan,
  { length, first, from, until }: Stretch,
): number {
  const exact = exactWork(config, first, length)
  const run = Math.max(...map) * layerWork(auxiliary, 0, until)
  const maps = (until - from) * auxiliary.hidden * 2 * kvWidth(config) * config.layers
  return (exact - config.layers * layerWork(config, from, until) + run + maps) / exact
}

/** Returns the multiply-adds of an exact prefill of positions `from`..`to` - 1, with one row of scores. */
export function exactWork(config: ModelConfig, from: number, to: number): number {
  return config.layers * layerWork(config, from, to) + config.vocab * config.hidden
}

/**
 * Returns the multiply-adds of a layer, the mean of all, over positions `from`..`to` - 1, each of
 * which attends to the positions that its window shows.
 */
export function layerWork(config: ModelConfig, from: number, to: number): number {
  const { linear, square } = layerCost(config)
  const { windows = [0] } = config
  const attended = windows.reduce((sum, window) => sum + attendedBy(to, window) - attendedBy(from, window), 0)
  return (to - from) * linear + (square * attended) / windows.length
}

/**
 * Returns twice the pairs of a query and a key among the first `n` positions: n² without a window.
 */
function attendedBy(n: number, window: number): number {
  return window === 0 || n <= window ? n * n : window * (2 * n - window)
}

/**
 * Returns one layer's multiply-adds over the first n positions, as `linear` n + `square` n²; a
 * window makes them fewer.
 */
function layerCost(config: ModelConfig): { readonly linear: number; readonly square: number } {
  const { hidden, intermediate, heads, headDim } = config
  const width = heads * headDim
  return { linear: hidden * (2 * width + 2 * kvWidth(config)) + 3 * hidden * intermediate, square: width }
}
