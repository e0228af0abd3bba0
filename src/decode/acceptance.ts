/**
 * Decides whether a token that was drawn from other scores stands, and what replaces it: the rule of
 * speculative sampling (Leviathan et al. 2023, arXiv 2211.17192). A token that was drawn with
 * probability q and has the exact probability p stands with probability min(1, p / q), and
 * otherwise one is drawn from what the exact probabilities exceed the others by. So every token
 * has its exact probability, whatever the other scores were.
 */
import { defined } from '../base/at.ts'
import { draw } from './draw.ts'
import { type Candidates, type Filters, filterTokens } from './filters.ts'

/** What a token was drawn from. */
export type Draft = Candidates

/**
 * Maximum number of tokens that a draft is drawn among. A draft is kept until it has been checked,
 * and the rule holds for any; a longer one would be 12 bytes a token of the vocabulary, and hold
 * little more of the probability.
 */
const longestDraft = 2048

/** Returns the tokens that may be drawn for scores that are not exact. */
export function draftOf(scores: Float32Array, filters: Filters): Draft {
  const { topK, topP, minP } = filters
  const limited = topK > 0 && topK < longestDraft
  const drafted = filterTokens(scores, limited ? filters : { ...filters, topK: longestDraft })
  const plain = topK === 0 && topP === 1 && minP === 0
  return plain ? byId(drafted) : { ...drafted, ids: drafted.ids.slice(), weights: drafted.weights.slice() }
}

/** Returns whether token `id` of a draft stands, with `uniform` in [0, 1). */
export function accepted(exact: Candidates, draft: Draft, id: number, uniform: number): boolean {
  return uniform * probability(draft, id) < probability(exact, id)
}

/**
 * Draws what replaces a token that does not stand, with `uniform` in [0, 1). Returns its place among
 * the exact candidates.
 */
export function drawInstead(exact: Candidates, draft: Draft, uniform: number): number {
  const drafted = new Map<number, number>()
  for (let i = 0; i < draft.ids.length; i++) drafted.set(defined(draft.ids[i]), defined(draft.weights[i]) / draft.total)
  const places = Int32Array.from({ length: exact.ids.length }, (_, place) => place)
  const weights = new Float64Array(exact.ids.length)
  let total = 0
  for (let place = 0; place < weights.length; place++) {
    const p = defined(exact.weights[place]) / exact.total
    const excess = Math.max(0, p - (drafted.get(defined(exact.ids[place])) ?? 0))
    weights[place] = excess
    total += excess
  }
  // Rounding can leave nothing, where the two are equal.
  if (total <= 0) return draw({ ids: places, weights: exact.weights, total: exact.total }, uniform)
  return draw({ ids: places, weights, total }, uniform)
}

function probability({ ids, weights, total }: Candidates, id: number): number {
  const place = ids.indexOf(id)
  return place < 0 ? 0 : defined(weights[place]) / total
}

/** Sorts by id, the order in which all tokens are drawn where no filter is on. */
function byId({ ids, weights, total }: Candidates): Draft {
  const order = Array.from(ids.keys()).sort((a, b) => defined(ids[a]) - defined(ids[b]))
  return {
    ids: Int32Array.from(order, (place) => defined(ids[place])),
    weights: Float64Array.from(order, (place) => defined(weights[place])),
    total,
  }
}
