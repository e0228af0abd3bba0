/** Computes the work of a predicted prefill relative to an exact one, in multiply-adds. */

import { kvWidth } from '../base/kv.ts'
import type { ModelConfig } from '../base/model.ts'
import { runsAtOnce, type SeparatePlan, type SharedPlan, sourcesOf } from './plan.ts'

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
  const run = layersRun(plan)
  const maps = sources.reduce(
    (sum, { maps, taps, bridged }) => {
      return sum + (1 + taps) * hidden * (maps.length * 2 * kvWidth(config) + (bridged ? hidden : 0))
    },
    runsAtOnce(plan) ? 0 : hidden * 2 * kvWidth(config),
  )
  const mlps = (run.attention - run.mlp) * (until - from) * layerCost(config).mlp
  const saved = (layers - run.attention) * layerWork(config, from, until) + mlps - (until - from) * maps
  return (exact - saved) / exact
}

/** Returns how many layers' attention and how many layers' MLPs predicted tokens run through. */
export function layersRun({ shared, runs }: SharedPlan): { readonly attention: number; readonly mlp: number } {
  const count = (some: SharedPlan['runs']) => some.reduce((sum, { from, to }) => sum + to - from, shared)
  return { attention: count(runs), mlp: count(runs.filter(({ mlp }) => mlp !== false)) }
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

/** Returns the same share when the K and V of some `ranges` of tokens are given. */
export function placedShare(
  config: ModelConfig,
  { length, first }: Pick<Stretch, 'length' | 'first'>,
  ranges: readonly { readonly from: number; readonly to: number }[],
): number {
  const exact = exactWork(config, first, length)
  const saved = ranges.reduce((sum, { from, to }) => sum + config.layers * layerWork(config, from, to), 0)
  return (exact - saved) / exact
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
 * window makes them fewer. `mlp` is the MLP's part of `linear`.
 */
export function layerCost(config: ModelConfig): {
  readonly linear: number
  readonly square: number
  readonly mlp: number
} {
  const { hidden, intermediate, heads, headDim } = config
  const width = heads * headDim
  const mlp = 3 * hidden * intermediate
  return { linear: hidden * (2 * width + 2 * kvWidth(config)) + mlp, square: width, mlp }
}
