/** Selects the tokens that may be drawn: temperature, then top-k, then top-p, then min-p. */
import { defined } from '../base/at.ts'
import { argmax, expNegative } from './logprobs.ts'
import { topIds } from './order.ts'
import { sortBest } from './radix-sort.ts'

/** Settings of the filters, all of them valid. */
export interface Filters {
  /** Divides the scores. Must be above 0. */
  readonly temperature: number
  /** Keeps the k best tokens; 0 = off. */
  readonly topK: number
  /** Keeps the fewest best tokens whose probabilities add up to this share; 1 = off. */
  readonly topP: number
  /** Keeps tokens with at least this share of the best token's probability; 0 = off. */
  readonly minP: number
}

/** Tokens that passed the filters. */
export interface Candidates {
  /** Token ids (count), at least one: best first if top-k or top-p is on, otherwise ascending. */
  readonly ids: Int32Array
  /** Unnormalized probabilities (count): the best token has weight 1, and all add up to `total`. */
  readonly weights: Float64Array
  readonly total: number
}

/**
 * Returns the tokens that pass the filters, with their weights. `scores` (vocab) are finite or
 * -Infinity, and not all -Infinity.
 */
export function filterTokens(scores: Float32Array, filters: Filters): Candidates {
  const { temperature, topK, topP, minP } = filters
  const top = defined(scores[argmax(scores)])
  const scale = 1 / temperature
  const limited = topK > 0 && topK < scores.length
  let ids: Int32Array
  let mass = 0 // the mass of all tokens, if known
  if (limited) ids = topIds(scores, topK)
  else if (topP < 1) ({ ids, mass } = nucleus(scores, top, scale, topP))
  else ids = within(scores, top, minP > 0 ? -Math.log(minP) / scale : 40 / scale)
  // A loop, since Float64Array.from would take ten times as long.
  let weights = new Float64Array(ids.length)
  for (let i = 0; i < ids.length; i++) weights[i] = expNegative((top - defined(scores[defined(ids[i])])) * scale)
  if (topP < 1) {
    const keep = countReaching(weights, topP * (mass || sum(weights)))
    ids = ids.subarray(0, keep)
    weights = weights.subarray(0, keep)
  }
  if (minP > 0) {
    let keep = 0
    for (let i = 0; i < ids.length; i++) {
      const weight = defined(weights[i])
      if (weight < minP) continue
      ids[keep] = defined(ids[i])
      weights[keep++] = weight
    }
    ids = ids.subarray(0, keep)
    weights = weights.subarray(0, keep)
  }
  return { ids, weights, total: sum(weights) }
}

/**
 * Returns the best ids, sorted, that hold at least `share` of the mass. A histogram of the mass by
 * distance from the top score says how far down to look, so that only a few hundred ids are sorted
 * instead of the whole vocabulary.
 */
function nucleus(scores: Float32Array, top: number, scale: number, share: number): { ids: Int32Array; mass: number } {
  const bins = new Float64Array(321) // 8 for each unit of log-probability
  let mass = 0
  for (let i = 0; i < scores.length; i++) {
    const d = (top - defined(scores[i])) * scale
    const weight = expNegative(d)
    if (weight === 0) continue
    const bin = (d * 8) | 0
    bins[bin] = defined(bins[bin]) + weight
    mass += weight
  }
  // Ask for a billionth more: sums in another order may round the other way.
  const wanted = share * mass * (1 + 1e-9)
  let bin = 0
  for (let reached = defined(bins[0]); reached < wanted && bin < bins.length - 1; reached += defined(bins[bin])) bin++
  const ids = within(scores, top, (bin + 1) / 8 / scale)
  return { ids: sortBest(scores, ids), mass }
}

/** Returns the ids, ascending, whose score is at most `distance` below the top score. */
function within(scores: Float32Array, top: number, distance: number): Int32Array {
  let count = 0
  for (let i = 0; i < scores.length; i++) if (top - defined(scores[i]) <= distance) count++
  const ids = new Int32Array(count)
  let at = 0
  for (let i = 0; at < count; i++) if (top - defined(scores[i]) <= distance) ids[at++] = i
  return ids
}

function countReaching(weights: Float64Array, mass: number): number {
  let reached = 0
  for (let i = 0; i < weights.length; i++) if ((reached += defined(weights[i])) >= mass) return i + 1
  return weights.length
}

function sum(values: Float64Array): number {
  let total = 0
  // An iterator would box each value.
  for (let i = 0; i < values.length; i++) total += defined(values[i])
  return total
}
