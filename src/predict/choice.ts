/** Decides which tokens of a prompt are predicted, and which rows are run again until none is. */

import type { Scores } from '../backend/backend.ts'
import { defined } from '../base/at.ts'
import type { ModelConfig } from '../base/model.ts'
import type { Sequence } from '../kv/sequence.ts'
import { States } from '../kv/states.ts'
import type { Chunk } from '../pack/pack.ts'
import { layerCost, layersRun, separateShare, sharedShare } from './cost.ts'
import { type PredictorHeader, stateWidth } from './header.ts'
import { windowOf } from './plan.ts'

/**
 * The modes that a request can ask for. `auto` shows predicted answers only where the predictor is
 * sure of them, and refines.
 */
export const prefillModes = ['exact', 'predicted', 'refined', 'auto'] as const
export type PrefillMode = (typeof prefillModes)[number]

/** A shorter middle is not worth its own rows in every pass. */
const leastPredicted = 16

/** What the choice needs of a predictor's header. */
type PlanHeader = Pick<PredictorHeader, 'layers' | 'hidden' | 'plan' | 'aux'> & Partial<Pick<PredictorHeader, 'gate'>>

export class Prediction {
  readonly #header: PlanHeader
  readonly #auxiliary: ModelConfig | undefined
  /**
   * Cost of a row relative to an exact row, without attention's scores: the share of the layers'
   * products that it runs through.
   */
  readonly rowCost: Readonly<Record<'predicted' | 'refined', number>>

  /**
   * `config` is the base's shape. `auxiliary` is that of the smaller model of a separate plan; other
   * plans do not use it.
   */
  constructor(header: PlanHeader, config: ModelConfig, auxiliary?: ModelConfig) {
    this.#header = header
    const { layers, plan } = header
    this.#auxiliary = plan.kind === 'separate' ? auxiliary : undefined
    if (plan.kind === 'shared') {
      const { linear, mlp } = layerCost(config)
      const run = layersRun(plan)
      const predicted = (run.attention * (linear - mlp) + run.mlp * mlp) / (layers * linear)
      this.rowCost = { predicted, refined: (layers - plan.shared) / layers }
    } else {
      const size = (depth: number, width: number) => depth * width * width
      const predicted = size(Math.max(...plan.map), stateWidth(header)) / size(layers, header.hidden)
      this.rowCost = { predicted, refined: 1 }
    }
  }

  /**
   * Allows the tokens after those that `sequence` holds, up to `length`, to be predicted where the
   * plan says so. Returns false for a prompt that is too short; it is computed exactly. `window` is
   * the number of exact tokens at the end; default: as the plan says.
   */
  begin(sequence: Sequence, length: number, mode: PrefillMode, window?: number): boolean {
    const first = sequence.length
    if (mode === 'exact' || !this.predicts(first, length, window)) return false
    const until = length - (window ?? windowOf(this.#header.plan, length - first))
    const width = this.#header.plan.kind === 'shared' ? this.#header.hidden : 0
    sequence.predict(new States({ width, first, until, kept: mode !== 'predicted' }))
    return true
  }

  /** Returns true if any of a prompt's tokens would be predicted, `first` of them being cached. */
  predicts(first: number, length: number, window = windowOf(this.#header.plan, length - first)): boolean {
    // The smaller model has not seen what the base model has in its cache, and its context may be
    // shorter.
    if (this.#auxiliary && (first > 0 || length > this.#auxiliary.maxContext)) return false
    return length - window - this.#from(first) >= leastPredicted
  }

  /**
   * Returns the work of a predicted prompt as a share of exact prefill, `first` of its tokens being
   * cached.
   */
  share(
    config: ModelConfig,
    length: number,
    first: number,
    window = windowOf(this.#header.plan, length - first),
  ): number {
    const from = this.#from(first)
    const stretch = { length, first, from, until: Math.max(from, length - window) }
    const { plan } = this.#header
    return plan.kind === 'shared'
      ? sharedShare(config, plan, stretch)
      : separateShare(config, defined(this.#auxiliary), plan, stretch)
  }

  /**
   * Splits `ids`, which follow the tokens that `sequence` holds, into exact ones in front,
   * predicted ones, and exact ones in the window.
   */
  chunks(sequence: Sequence, ids: readonly number[], outputs: Chunk['outputs']): Chunk[] {
    const { states } = sequence
    if (!states) return [{ sequence, ids, outputs }]
    const at = sequence.length
    const cuts = [at, this.#from(states.first), states.until, at + ids.length]
      .map((cut) => Math.min(Math.max(cut, at), at + ids.length))
      .map((cut) => cut - at)
    const kinds = ['exact', 'predicted', 'exact'] as const
    return kinds.flatMap((kind, i): Chunk[] => {
      const part = ids.slice(cuts[i], cuts[i + 1])
      return part.length === 0
        ? []
        : [{ sequence, ids: part, kind, outputs: cuts[i + 1] === ids.length ? outputs : 'none' }]
    })
  }

  /**
   * Returns true if the first token from predicted K and V is too uncertain to be shown: its
   * margin, in natural log-probability, is below the gate.
   */
  doubts(scores: Scores): boolean {
    const logits = 'ids' in scores ? scores.logits : scores
    let [top, second] = [-Infinity, -Infinity]
    for (const logit of logits)
      if (logit > top) [top, second] = [logit, top]
      else if (logit > second) second = logit
    return top - second < (this.#header.gate ?? 0)
  }

  /**
   * Returns where prediction begins: after the sinks, and after as many exact states as the taps
   * reach back for.
   */
  #from(first: number): number {
    const { plan } = this.#header
    const taps = plan.kind === 'shared' ? Math.max(...plan.taps) : 0
    return Math.max(plan.sinks, first > 0 ? first + taps : 0)
  }
}
