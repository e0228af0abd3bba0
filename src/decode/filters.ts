/** From scores to the tokens that may be drawn: temperature, then top-k, then top-p, then min-p. */
import { argmax, expNegative } from './logprobs.ts'
import { sortBest, topIds } from './order.ts'

export interface Filters {
  /** Above 0. */
  readonly temperature: number
  /** The k best only; 0 = off. */
  readonly topK: number
  /** The fewest best whose probabilities reach this share; 1 = off. */
  readonly topP: number
  /** Those with at least this share of the best one's probability; 0 = off. */
  readonly minP: number
}

export interface Candidates {
  /** (count) at least one; best first if top-k or top-p is on, else by id. */
  readonly ids: Int32Array
  /** (count) probabilities times `total`; the best has 1. */
  readonly weights: Float64Array
  readonly total: number
}

/**
 * Draws one of the tokens that pass, with `uniform` in [0, 1). `scores` as for `filterTokens`.
 * Where nothing but temperature is on, all tokens pass, and their weights are computed twice: lists
 * as long as the vocabulary, for every token of every answer, would take more time and leave most
 * of a megabyte a token to the garbage collector.
 */
export function drawToken(scores: Float32Array, filters: Filters, uniform: number): number {
  const { temperature, topK, topP, minP } = filters
  const all = (topK === 0 || topK >= scores.length) && topP === 1 && minP === 0
  return all ? drawOfAll(scores, 1 / temperature, uniform) : draw(filterTokens(scores, filters), uniform)
}

/** As `draw` of all tokens, by id, to the last bit: a weight of 0 changes neither the sum nor the draw. */
function drawOfAll(scores: Float32Array, scale: number, uniform: number): number {
  const top = scores[argmax(scores)]!
  let total = 0
  for (let id = 0; id < scores.length; id++) total += expNegative((top - scores[id]!) * scale)
  let left = uniform * total
  let last = 0
  for (let id = 0; id < scores.length; id++) {
    const weight = expNegative((top - scores[id]!) * scale)
    if (weight === 0) continue
    left -= weight
    if (left < 0) return id
    last = id
  }
  return last // rounding left a crumb
}

/** The tokens that pass, and their weights. `scores` (vocab) are finite or -Infinity, not all -Infinity. */
export function filterTokens(scores: Float32Array, filters: Filters): Candidates {
  const { temperature, topK, topP, minP } = filters
  const top = scores[argmax(scores)]!
  const scale = 1 / temperature
  const limited = topK > 0 && topK < scores.length
  let ids: Int32Array
  let mass = 0 // of all, where known
  if (limited) ids = topIds(scores, topK)
  else if (topP < 1) ({ ids, mass } = nucleus(scores, top, scale, topP))
  else ids = within(scores, top, minP > 0 ? -Math.log(minP) / scale : 40 / scale)
  let weights = new Float64Array(ids.length) // a loop: Float64Array.from would take ten times as long
  for (let i = 0; i < ids.length; i++) weights[i] = expNegative((top - scores[ids[i]!]!) * scale)
  if (topP < 1) {
    const keep = countReaching(weights, topP * (mass || sum(weights)))
    ids = ids.subarray(0, keep)
    weights = weights.subarray(0, keep)
  }
  if (minP > 0) {
    let keep = 0
    for (let i = 0; i < ids.length; i++) {
      if (weights[i]! < minP) continue
      ids[keep] = ids[i]!
      weights[keep++] = weights[i]!
    }
    ids = ids.subarray(0, keep)
    weights = weights.subarray(0, keep)
  }
  return { ids, weights, total: sum(weights) }
}

/** One id, drawn with `uniform` in [0, 1). */
export function draw({ ids, weights, total }: Candidates, uniform: number): number {
  let left = uniform * total
  for (let i = 0; i < ids.length; i++) {
    left -= weights[i]!
    if (left < 0) return ids[i]!
  }
  return ids[ids.length - 1]! // rounding left a crumb
}

/**
 * The best ids, sorted, with at least `share` of the mass: a histogram of the mass by distance from the top says how
 * far down to look, so that a few hundred ids are sorted and not the whole vocabulary.
 */
function nucleus(scores: Float32Array, top: number, scale: number, share: number): { ids: Int32Array; mass: number } {
  const bins = new Float64Array(321) // 8 a unit of log-probability
  let mass = 0
  for (let i = 0; i < scores.length; i++) {
    const d = (top - scores[i]!) * scale
    const weight = expNegative(d)
    if (weight === 0) continue
    bins[(d * 8) | 0]! += weight
    mass += weight
  }
  let bin = 0
  // A billionth more than asked: sums in another order may round the other way.
  for (let reached = bins[0]!; reached < share * mass * (1 + 1e-9) && bin < bins.length - 1; reached += bins[bin]!)
    bin++
  const ids = within(scores, top, (bin + 1) / 8 / scale)
  return { ids: sortBest(scores, ids), mass }
}

/** Ids, ascending, whose score is at most `distance` under the top. */
function within(scores: Float32Array, top: number, distance: number): Int32Array {
  let count = 0
  for (let i = 0; i < scores.length; i++) if (top - scores[i]! <= distance) count++
  const ids = new Int32Array(count)
  let at = 0
  for (let i = 0; at < count; i++) if (top - scores[i]! <= distance) ids[at++] = i
  return ids
}

function countReaching(weights: Float64Array, mass: number): number {
  let reached = 0
  for (let i = 0; i < weights.length; i++) if ((reached += weights[i]!) >= mass) return i + 1
  return weights.length
}

function sum(values: Float64Array): number {
  let total = 0 // an iterator would box each value
  for (let i = 0; i < values.length; i++) total += values[i]!
  return total
}
