/** Which tokens of a prompt are predicted, and what is run again until none is. */

import type { Scores } from '../backend/backend.ts'
import type { ModelConfig } from '../base/model.ts'
import type { Sequence } from '../kv/paged.ts'
import { States } from '../kv/states.ts'
import type { Chunk } from '../pack/pack.ts'
import { separateShare, sharedShare } from './cost.ts'
import { type PredictorHeader, stateWidth, windowOf } from './plan.ts'

/** What a request asks for. `auto` shows predicted answers only where the predictor is sure of them, and refines. */
export const prefillModes = ['exact', 'predicted', 'refined', 'auto'] as const
export type PrefillMode = (typeof prefillModes)[number]

/** A shorter middle is not worth its own stretch of every pass. */
const leastPredicted = 16

export class Prediction {
  readonly #header: PredictorHeader
  readonly #auxiliary: ModelConfig | undefined
  /** What a row costs by what an exact one does, attention left out: the layers it runs through. */
  readonly rowCost: Readonly<Record<'predicted' | 'refined', number>>

  /** `auxiliary` is the smaller model's shape, for a separate plan; others have no use for it. */
  constructor(header: PredictorHeader, auxiliary?: ModelConfig) {
    this.#header = header
    const { layers, plan } = header
    this.#auxiliary = plan.kind === 'separate' ? auxiliary : undefined
    if (plan.kind === 'shared') {
      const run = plan.runs.reduce((sum, { from, to }) => sum + to - from, plan.shared)
      this.rowCost = { predicted: run / layers, refined: (layers - plan.shared) / layers }
    } else {
      const size = (depth: number, width: number) => depth * width * width
      const predicted = size(Math.max(...plan.map), stateWidth(header)) / size(layers, header.hidden)
      this.rowCost = { predicted, refined: 1 }
    }
  }

  /**
   * Lets the tokens behind what `sequence` holds, up to `length`, be predicted where the plan says so. False for a prompt that is
   * too short: it is exact. `window` tokens at the end stay exact; default: as the plan says.
   */
  begin(sequence: Sequence, length: number, mode: PrefillMode, window?: number): boolean {
    const first = sequence.length
    if (mode === 'exact' || !this.predicts(first, length, window)) return false
    const until = length - (window ?? windowOf(this.#header.plan, length - first))
    const width = this.#header.plan.kind === 'shared' ? this.#header.hidden : 0
    sequence.predict(new States({ width, first, until, kept: mode !== 'predicted' }))
    return true
  }

  /** Whether any of a prompt's tokens would be predicted, `first` of them being cached. */
  predicts(first: number, length: number, window = windowOf(this.#header.plan, length - first)): boolean {
    // The smaller model has not seen what the base finds in its cache, and may see less far.
    if (this.#auxiliary && (first > 0 || length > this.#auxiliary.maxContext)) return false
    return length - window - this.#from(first) >= leastPredicted
  }

  /** The share of an exact prefill's work that a predicted prompt takes, `first` of its tokens being cached. */
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
      : separateShare(config, this.#auxiliary!, plan, stretch)
  }

  /** `ids` behind what `sequence` holds, as runs: exact ones in front and in the window, predicted ones between. */
  chunks(sequence: Sequence, ids: readonly number[], outputs: 'none' | 'last'): Chunk[] {
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

  /** Whether the first token from predicted K and V is not sure enough to be shown: its margin, in natural log-probability. */
  doubts(scores: Scores): boolean {
    const logits = 'ids' in scores ? scores.logits : scores
    let [top, second] = [-Infinity, -Infinity]
    for (const logit of logits)
      if (logit > top) [top, second] = [logit, top]
      else if (logit > second) second = logit
    return top - second < this.#header.gate
  }

  /** Where prediction begins: behind the sinks, and behind as many exact states as the taps reach back for. */
  #from(first: number): number {
    const { plan } = this.#header
    const taps = plan.kind === 'shared' ? Math.max(...plan.taps) : 0
    return Math.max(plan.sinks, first > 0 ? first + taps : 0)
  }
}
