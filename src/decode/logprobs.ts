/**
 * Computes log-probabilities of the model's own distribution, before penalties, temperature and
 * filters.
 */
import { notFinite } from '../backend/scores.ts'

export { topIds } from './order.ts'

/** What turns logits into log-probabilities. */
export interface Normalizer {
  /** The largest logit. */
  readonly top: number
  /** The lowest id with the largest logit. */
  readonly id: number
  /** Log of the sum of exp(logit): `logits[i] - logSum` is the log-probability of token i. */
  readonly logSum: number
}

/** From here on exp(-d) is below 1e-17 of the largest term of the sum. */
const reach = 40
const stepsPerUnit = 32
const table = Float64Array.from({ length: reach * stepsPerUnit + 2 }, (_, i) => Math.exp(-i / stepsPerUnit))

/**
 * Returns exp(-d) for d >= 0 with a relative error of 1e-10; 0 from 40 on; NaN for NaN. It looks up
 * the nearest 1/32 in a table and multiplies by a Taylor polynomial. This is four times as fast as
 * `Math.exp`, which would cost more than choosing a greedy token.
 */
export function expNegative(d: number): number {
  if (d >= reach) return 0
  const i = (d * stepsPerUnit + 0.5) | 0
  const f = i / stepsPerUnit - d
  // `??` costs nothing here, and `defined` 20 %: the loops around it become too large to inline.
  return (table[i] ?? Number.NaN) * (1 + f * (1 + f * (0.5 + f * (1 / 6 + f * (1 / 24)))))
}

/**
 * Scans logits (vocab). Throws `internal` if one is NaN or +Infinity, or none is finite, so that a
 * failed forward pass never becomes a token.
 */
export function normalize(logits: Float32Array): Normalizer {
  const id = argmax(logits)
  const top = logits[id] ?? Number.NaN
  const logSum = logSumExp(logits, top)
  if (!Number.isFinite(top) || !Number.isFinite(logSum)) throw notFinite(logits)
  return { top, id, logSum }
}

/**
 * Returns the log of the sum of exp(logit), to 1e-10, given the largest logit `top`. Returns NaN if
 * a logit is NaN, or if `top` is infinite.
 */
export function logSumExp(logits: Float32Array, top: number): number {
  let sum = 0
  for (let i = 0; i < logits.length; i++) {
    // `expNegative`, written out. V8 inlines only so much into one caller, and with both scans of
    // `normalize` in it a call was left for each logit: 0.6 ms a token instead of 0.2.
    const d = top - (logits[i] ?? Number.NaN)
    if (d >= reach) continue
    const step = (d * stepsPerUnit + 0.5) | 0
    const f = step / stepsPerUnit - d
    sum += (table[step] ?? Number.NaN) * (1 + f * (1 + f * (0.5 + f * (1 / 6 + f * (1 / 24)))))
  }
  return top + Math.log(sum)
}

/** Returns the lowest id with the largest score. NaN never counts as the largest. */
export function argmax(scores: Float32Array): number {
  let top = Number.NEGATIVE_INFINITY
  let id = 0
  for (let i = 0; i < scores.length; i++) {
    const score = scores[i] ?? Number.NaN
    if (score > top) {
      top = score
      id = i
    }
  }
  return id
}
