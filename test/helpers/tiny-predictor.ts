/** Makes a random predictor for a tiny model: its predictions are wrong, but always the same. */
import { mapsOf, type PredictorFile } from '../../src/predict/file.ts'
import { type PredictorHeader, stateWidth, versionOf } from '../../src/predict/header.ts'
import { type SharedPlan, sourcesOf } from '../../src/predict/plan.ts'
import { random } from './random.ts'

export const tinyPlan: SharedPlan = {
  kind: 'shared',
  shared: 2,
  runs: [{ from: 4, to: 5 }],
  taps: [2, 1],
  sinks: 4,
  window: 8,
}

/** A plan in which predicted tokens leave out the MLPs of some layers. */
export const apartPlan: SharedPlan = {
  ...tinyPlan,
  shared: 1,
  runs: [
    { from: 1, to: 2, mlp: false },
    { from: 2, to: 3, mlp: false },
    { from: 5, to: 6 },
  ],
  taps: [0, 1, 0, 2],
}

/** Returns a predictor for the tiny model of 7 layers with the identity `base`. */
export function tinyPredictor(base: string, change: Partial<PredictorHeader> = {}): PredictorFile {
  const header: PredictorHeader = {
    version: versionOf(change.plan ?? tinyPlan),
    base,
    base_name: 'tiny',
    layers: 7,
    hidden: 256,
    kv_width: 128,
    plan: tinyPlan,
    gate: 0,
    training: {},
    quality: {},
    ...change,
  }
  const rng = random(9)
  const maps = mapsOf(header).map(({ name, n, k }) => {
    const weight = Int8Array.from({ length: n * k }, () => rng.below(255) - 127)
    // Scales are about 2^-11, so that a sum of k products is about 1 in size.
    const scale = Uint16Array.from({ length: (n * k) / 32 }, () => (4 << 10) | rng.below(1024))
    return [name, { n, k, weight, scale, bias: rng.floats(n).map((value) => value * 0.1) }] as const
  })
  const gain = () => rng.floats(stateWidth(header)).map((value) => 1 + 0.3 * value)
  return { header, maps: new Map(maps), gains: sourcesOf(header.plan, header.layers).map(gain) }
}
