/** What a predicted prefill computes by what an exact one does, counted in multiply-adds. */

import type { ModelConfig } from '../base/model.ts'
import { type SeparatePlan, type SharedPlan, sourcesOf } from './plan.ts'

/** Where the exact and the predicted tokens of a prompt lie. */
export interface Stretch {
  /** Tokens of the prompt. */
  readonly length: number
  /** Tokens in front that a cache held. */
  readonly first: number
  /** Tokens `from`..`until` - 1 are predicted. */
  readonly from: number
  readonly until: number
}

/** The share of an exact prefill's work, the window and the vocabulary projection of one row included. */
export function sharedShare(config: ModelConfig, plan: SharedPlan, { length, first, from, until }: Stretch): number {
  const { layers, hidden } = config
  const exact = exactWork(config, first, length)
  const sources = sourcesOf(plan, layers)
  const run = plan.shared + sources.reduce((sum, { run }) => sum + (run ? run.to - run.from : 0), 0)
  const maps = sources.reduce((sum, { maps, taps, run }) => {
    return sum + (1 + taps) * hidden * (maps.length * kvWidth(config) + (run ? hidden : 0))
  }, hidden * kvWidth(config))
  const saved = (layers - run) * layerWork(config, from, until) - (until - from) * maps
  return (exact - saved) / exact
}

/** The same where predicted tokens, and those before them, run through an auxiliary model. */
export function separateShare(
  config: ModelConfig,
  auxiliary: ModelConfig,
  { map }: SeparatePlan,
  { length, first, from, until }: Stretch,
): number {
  const exact = exactWork(config, first, length)
  const run = Math.max(...map) * layerWork(auxiliary, 0, until)
  const maps = (until - from) * auxiliary.hidden * kvWidth(config) * config.layers
  return (exact - config.layers * layerWork(config, from, until) + run + maps) / exact
}

function exactWork(config: ModelConfig, from: number, to: number): number {
  return config.layers * layerWork(config, from, to) + config.vocab * config.hidden
}

/** Of one layer over positions `from`..`to` - 1, which attend to all positions before each. */
function layerWork(config: ModelConfig, from: number, to: number): number {
  const { linear, square } = layerCost(config)
  return (to - from) * linear + square * (to * to - from * from)
}

/** One layer's multiply-adds over n positions from the first on: `linear` n + `square` n². */
export function layerCost(config: ModelConfig): { readonly linear: number; readonly square: number } {
  const { hidden, intermediate, heads, headDim } = config
  const width = heads * headDim
  return { linear: hidden * (2 * width + kvWidth(config)) + 3 * hidden * intermediate, square: width }
}

/** Values of K and V of a token in a layer. */
function kvWidth({ kvHeads, headDim }: ModelConfig): number {
  return 2 * kvHeads * headDim
}
