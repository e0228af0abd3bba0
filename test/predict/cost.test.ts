/** The work of predicted prefill by formula, against a count over tokens and layers. */
import { describe, expect, test } from 'vitest'
import type { ModelConfig } from '../../src/base/model.ts'
import { Prediction } from '../../src/predict/choice.ts'
import type { SharedPlan } from '../../src/predict/plan.ts'
import { apartPlan, tinyPlan, tinyPredictor } from '../helpers/tiny-predictor.ts'

const config = {
  layers: 7,
  hidden: 256,
  intermediate: 512,
  heads: 4,
  kvHeads: 2,
  headDim: 64,
  vocab: 64,
} as ModelConfig

const [hidden, width, kv] = [256, 256, 128]
const attention = hidden * (2 * width + 2 * kv)
const mlp = 3 * hidden * 512
/** Multiply-adds of the scores and sums of a position, which sees half of itself on average. */
const scores = (position: number) => width * (2 * position + 1)
const kvMap = (taps: number) => (1 + taps) * hidden * 2 * kv
const bridge = (taps: number) => (1 + taps) * hidden * hidden

/** Multiply-adds of a predicted token at a position, layer by layer. */
const counted: [string, SharedPlan, (position: number) => number][] = [
  [
    'a whole layer',
    tinyPlan,
    // Layers 0 and 1, the K and V of 2, maps of 3 and a bridge from 2 taps, layer 4, maps of 5 and 6.
    (at) => 3 * (attention + mlp + scores(at)) + kvMap(0) + kvMap(2) + bridge(2) + 2 * kvMap(1),
  ],
  [
    'layers without MLPs',
    apartPlan,
    // Layer 0, attention of 1, a bridge, attention of 2, maps of 3 and 4 and a bridge, layer 5, a map.
    (at) =>
      2 * (attention + mlp + scores(at)) +
      2 * (attention + scores(at)) +
      bridge(1) +
      2 * kvMap(0) +
      bridge(0) +
      kvMap(2),
  ],
]

describe('the share of exact work', () => {
  test.each(counted)('with %s', (_, plan, ofPredicted) => {
    const prediction = new Prediction(tinyPredictor('b'.repeat(64), { plan }).header, config)
    const length = 100
    let [exact, work] = [config.vocab * hidden, config.vocab * hidden]
    for (let at = 0; at < length; at++) {
      const whole = 7 * (attention + mlp + scores(at))
      exact += whole
      work += at < plan.sinks || at >= length - 20 ? whole : ofPredicted(at)
    }
    expect(prediction.share(config, length, 0, 20)).toBeCloseTo(work / exact, 10)
  })

  test('a row costs what its products do, compared with those of all layers', () => {
    const cost = (plan: SharedPlan) => new Prediction(tinyPredictor('b'.repeat(64), { plan }).header, config).rowCost
    expect(cost(tinyPlan)).toEqual({ predicted: 3 / 7, refined: 5 / 7 })
    const { predicted, refined } = cost(apartPlan)
    expect(predicted).toBeCloseTo((4 * attention + 2 * mlp) / (7 * (attention + mlp)), 10)
    expect(refined).toBe(6 / 7)
  })
})
