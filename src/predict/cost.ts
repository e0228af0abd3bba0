/** What a predicted prefill computes by what an exact one does, counted in multiply-adds. */

import { kvWidth } from '../base/kv.ts'
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
  const maps = sources.reduce(
    (sum, { maps, taps, run }) => {
      return sum + (1 + taps) * hidden * (maps.length * 2 * kvWidth(config) + (run ? hidden : 0))
    },
    hidden * 2 * kvWidth(config),
  )
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
  const maps = (until - from) * auxiliary.hidden * 2 * kvWidth(config) * config.layers
  return (exact - config.layers * layerWork(config, from, until) + run + maps) / exact
}

function exactWork(config: ModelConfig, from: number, to: number): number {
  return config.layers * layerWork(config, from, to) + config.vocab * config.hidden
}

/** The work of a layer, the mean of all, over positions `from`..`to` - 1, which attend to those before each that their window shows. */
function layerWork(config: ModelConfig, from: number, to: number): number {
  const { linear, square } = layerCost(config)
  const { windows = [0] } = config
  const attended = windows.reduce((sum, window) => sum + attendedBy(to, window) - attendedBy(from, window), 0)
  return (to - from) * linear + (square * attended) / windows.length
}

/** Twice the pairs of a query and a key among `n` positions from the first on: n² without a window. */
function attendedBy(n: number, window: number): number {
  return window === 0 || n <= window ? n * n : window * (2 * n - window)
}

/** One layer's multiply-adds over n positions from the first on: `linear` n + `square` n², or less with a window. */
export function layerCost(config: ModelConfig): { readonly linear: number; readonly square: number } {
  const { hidden, intermediate, heads, headDim } = config
  const width = heads * headDim
  return { linear: hidden * (2 * width + 2 * kvWidth(config)) + 3 * hidden * intermediate, square: width }
}
