/** Draws a token by its probability. */

import { defined } from '../base/at.ts'
import { type Candidates, type Filters, filterTokens } from './filters.ts'
import { argmax, expNegative } from './logprobs.ts'

/**
 * Draws one of the tokens that pass the filters, with `uniform` in [0, 1). `scores` are as for
 * `filterTokens`. If only temperature is on, every token passes, and the weights are computed
 * twice: allocating lists as long as the vocabulary for every token of every answer would take more
 * time, and leave most of a megabyte a token to the garbage collector.
 */
export function drawToken(scores: Float32Array, filters: Filters, uniform: number): number {
  const { temperature, topK, topP, minP } = filters
  const all = (topK === 0 || topK >= scores.length) && topP === 1 && minP === 0
  return all ? drawOfAll(scores, 1 / temperature, uniform) : draw(filterTokens(scores, filters), uniform)
}

/**
 * Returns the same id, to the last bit, as `draw` over all tokens in ascending order: a weight of 0
 * changes neither the sum nor the draw.
 */
function drawOfAll(scores: Float32Array, scale: number, uniform: number): number {
  const top = defined(scores[argmax(scores)])
  let total = 0
  for (let id = 0; id < scores.length; id++) total += expNegative((top - (scores[id] ?? Number.NaN)) * scale)
  let left = uniform * total
  let last = 0
  for (let id = 0; id < scores.length; id++) {
    const weight = expNegative((top - (scores[id] ?? Number.NaN)) * scale)
    if (weight === 0) continue
    left -= weight
    if (left < 0) return id
    last = id
  }
  return last // rounding left a remainder
}

/** Draws one id by its weight, with `uniform` in [0, 1). */
export function draw({ ids, weights, total }: Candidates, uniform: number): number {
  let left = uniform * total
  for (let i = 0; i < ids.length; i++) {
    left -= defined(weights[i])
    if (left < 0) return defined(ids[i])
  }
  return defined(ids[ids.length - 1]) // rounding left a remainder
}
