/** Log-probabilities of the model's own distribution, before penalties, temperature and filters. */
import { ForetokenError } from '../base/errors.ts'

export { topIds } from './order.ts'

export interface Normalizer {
  /** The largest logit, and the lowest id that has it. */
  readonly top: number
  readonly id: number
  /** log of the sum of exp(logit): `logits[i] - logSum` is the log-probability of i. */
  readonly logSum: number
}

/** exp(-d) is below 1e-17 of the sum's largest term from here on. */
const reach = 40
const stepsPerUnit = 32
const table = Float64Array.from({ length: reach * stepsPerUnit + 2 }, (_, i) => Math.exp(-i / stepsPerUnit))

/**
 * exp(-d) for d >= 0, to 1e-10 of its value; 0 from 40 on; NaN for NaN. Four times as fast as `Math.exp`, which would
 * cost more than choosing a greedy token does: a table for the nearest 1/32, and a Taylor polynomial for the rest.
 */
export function expNegative(d: number): number {
  if (d >= reach) return 0
  const i = (d * stepsPerUnit + 0.5) | 0
  const f = i / stepsPerUnit - d
  return table[i]! * (1 + f * (1 + f * (0.5 + f * (1 / 6 + f * (1 / 24)))))
}

/** Scans logits (vocab). Throws `internal` where one is NaN or +Infinity, or none is finite: never a silent token. */
export function normalize(logits: Float32Array): Normalizer {
  const id = argmax(logits)
  const top = logits[id] ?? Number.NaN
  let sum = 0
  for (let i = 0; i < logits.length; i++) sum += expNegative(top - logits[i]!)
  if (!Number.isFinite(top) || !Number.isFinite(sum)) throw notFinite(logits)
  return { top, id, logSum: top + Math.log(sum) }
}

/** The lowest id with the largest score; NaN is passed over. */
export function argmax(scores: Float32Array): number {
  let top = Number.NEGATIVE_INFINITY
  let id = 0
  for (let i = 0; i < scores.length; i++) {
    const score = scores[i]!
    if (score > top) {
      top = score
      id = i
    }
  }
  return id
}

function notFinite(logits: Float32Array): ForetokenError {
  const at = logits.findIndex((logit) => Number.isNaN(logit) || logit === Number.POSITIVE_INFINITY)
  const what = at < 0 ? `none of ${logits.length} logits is finite` : `logit ${at} of ${logits.length} is ${logits[at]}`
  return new ForetokenError('internal', `${what}: the forward pass failed; please report the model and the build`)
}
