/** What a predicted prefill computes by what an exact one does, counted in multiply-adds. */

import { type PredictorPlan, sourcesOf } from '../model/predictor-plan.ts'
import type { ModelConfig } from '../types.ts'

/**
 * The share of an exact prefill's work, the window and the vocabulary projection of one row included. `length` prompt tokens, the
 * first `first` of them found in a cache, those from `from` to before `until` predicted.
 */
export function prefillShare(
  config: ModelConfig,
  plan: PredictorPlan,
  { length, first, from, until }: { length: number; first: number; from: number; until: number },
): number {
  const { layers, hidden, intermediate, heads, kvHeads, headDim, vocab } = config
  const width = heads * headDim
  const kv = 2 * kvHeads * headDim
  const layer = hidden * (2 * width + kv) + 3 * hidden * intermediate
  /** Of the rows of positions a to b - 1, over all positions before each. */
  const attention = (a: number, b: number) => 2 * width * ((a + b) / 2) * (b - a)
  const head = vocab * hidden
  const exact = layers * ((length - first) * layer + attention(first, length)) + head
  const sources = sourcesOf(plan, layers)
  const run = plan.shared + sources.reduce((sum, { run }) => sum + (run ? run.to - run.from : 0), 0)
  const maps = sources.reduce((sum, { maps, taps, run }) => {
    return sum + (1 + taps) * hidden * (maps.length * kv + (run ? hidden : 0))
  }, hidden * kv)
  const saved = (layers - run) * ((until - from) * layer + attention(from, until)) - (until - from) * maps
  return (exact - saved) / exact
}
