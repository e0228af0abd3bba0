/** The JSON header of a predictor's file. */
import { type PredictorPlan, sourcesOf } from './plan.ts'

/** The smaller model of a `separate` plan. */
export interface AuxiliaryHeader {
  /** The hash of its weights; see `WeightIdentity`. */
  readonly identity: string
  /** Where to find it, for people and for the command line. */
  readonly name: string
  readonly layers: number
  readonly hidden: number
  /** The layers of the named model that it consists of, in order. Default: all. */
  readonly kept?: readonly number[]
}

/** What a predictor's file says of itself. */
export interface PredictorHeader {
  /** 2 if a plan runs layers without their MLPs or limits its window; see `versionOf`. */
  readonly version: 1 | 2
  /** The hash of the base model's weights; see `WeightIdentity`. */
  readonly base: string
  readonly base_name: string
  readonly layers: number
  readonly hidden: number
  /** Number of values of K, and likewise of V, of a token in a layer. */
  readonly kv_width: number
  readonly plan: PredictorPlan
  /** Present in a `separate` plan. */
  readonly aux?: AuxiliaryHeader
  /**
   * Below this margin between the log-probabilities of the two likeliest first tokens, `auto` falls
   * back to exact.
   */
  readonly gate: number
  /** How it was trained, for people. */
  readonly training: Readonly<Record<string, unknown>>
  /** The quality that it reaches on text that it was not trained on, for people. */
  readonly quality: Readonly<Record<string, unknown>>
}

/**
 * Returns the version that a plan's file must have, so that a reader of older ones refuses what it
 * cannot run.
 */
export function versionOf(plan: PredictorPlan): PredictorHeader['version'] {
  if (plan.windowMost !== undefined) return 2
  return plan.kind === 'shared' && plan.runs.some((run) => run?.mlp !== undefined) ? 2 : 1
}

/** Returns the number of values of the longest input of a predictor's maps. */
export function inputsOf(header: PredictorHeader): number {
  return Math.max(...sourcesOf(header.plan, header.layers).map(({ taps }) => (1 + taps) * stateWidth(header)))
}

/** Returns the number of values of a state that maps read. */
export function stateWidth({ hidden, aux }: Pick<PredictorHeader, 'hidden' | 'aux'>): number {
  return aux?.hidden ?? hidden
}
