/**
 * Baselines that skip the late layers for all of a prompt but its end: POP (arXiv 2602.03295) and
 * SwiftKV (arXiv 2410.03960). Both make the K and V of these layers from the state before them. POP
 * uses the layers' own weights and needs no training; SwiftKV trains others, which are fitted here
 * in closed form.
 */

import type { Backend } from '../backend/backend.ts'
import type { Pass } from '../base/pass.ts'
import type { Sequence } from '../kv/sequence.ts'
import type { LoadedModel } from '../model/forward.ts'
import { Prediction } from '../predict/choice.ts'
import type { PredictorFile } from '../predict/file.ts'
import type { PredictorHeader } from '../predict/header.ts'
import { loadPredictor } from '../predict/load.ts'
import type { SharedPlan } from '../predict/plan.ts'
import { predicting } from '../prefill/open.ts'
import { type Judged, type Judgement, logitsAfter } from './judge.ts'

/** Number of exact tokens in front, as predictors have them; the papers name none. */
const sinks = 4

/**
 * Returns the plan of a prompt that skips layers `from` and above, except for its first tokens and
 * the last `window`.
 */
export function skippingPlan(from: number, window = 1): SharedPlan {
  return { kind: 'shared', shared: from, runs: [], taps: [0], sinks, window }
}

/** Returns the logits of a prompt whose tokens but the last `window` skip layers. */
export type Skipping = (sequence: Sequence, judged: Judged, window: number) => Promise<Judgement>

interface SkippingEngine {
  readonly model: LoadedModel
  readonly backend: Backend
}

/** POP: skips layers `from` and above. `from` may be the number of layers, which skips none. */
export function pop({ model }: SkippingEngine, from: number): Skipping {
  const { layers, hidden } = model.config
  const prediction = new Prediction({ layers, hidden, plan: skippingPlan(from) })
  const forward = (pass: Pass) =>
    model.exclusive(() => {
      const { predicted = 0, segments } = pass
      const middle = { from: 0, to: predicted }
      model.begin(pass)
      model.run(pass, { from: 0, to: from })
      for (let layer = from; layer < layers; layer++) model.writeOwnKv(pass, layer, middle)
      model.run(pass, { from, to: layers }, { from: predicted, to: segments.length })
      return model.logits(pass.outputs)
    })
  const walk = { passTokens: model.passTokens, forward }
  return (sequence, judged, window) => logitsAfter(walk, prediction, sequence, judged, { prefill: 'predicted', window })
}

/** SwiftKV: skips the layers that `file` maps, whose plan is a `skippingPlan`. */
export function swiftKv(engine: SkippingEngine, file: PredictorFile): Skipping {
  const { header } = file
  engine.model.widen(header.hidden)
  const prediction = new Prediction(header)
  const forward = predicting(engine, loadPredictor(engine.backend, file))
  return (sequence, judged, window) =>
    logitsAfter(forward, prediction, sequence, judged, { prefill: 'predicted', window })
}

/** Returns the header of SwiftKV's maps for a model. */
export function swiftKvHeader(
  model: Pick<PredictorHeader, 'base' | 'base_name' | 'layers' | 'hidden' | 'kv_width'>,
  from: number,
  training: PredictorHeader['training'],
): PredictorHeader {
  return { version: 1, ...model, plan: skippingPlan(from), gate: 0, training, quality: {} }
}
