/** Measures how close answers from a predicted cache are to those from an exact one. */

import { at, defined } from '../base/at.ts'
import { logSumExp } from '../decode/logprobs.ts'

/** The measures over the tokens of one continuation, or their means over many. */
export interface Agreement {
  /** Mean KL divergence of the exact next-token distributions from the others, in nats. */
  readonly kl: number
  /** Share of positions with the same likeliest token. */
  readonly top1: number
  /** The same for the first position alone. */
  readonly first: number
  /** Margin of the predicted first token: its log-probability minus the second's. */
  readonly margin: number
}

/** Compares logits, (rows, vocab) each. */
export function agreement(exact: Float32Array, other: Float32Array, vocab: number): Agreement {
  const rows = exact.length / vocab
  let [kl, top1, first, margin] = [0, 0, 0, 0]
  for (let row = 0; row < rows; row++) {
    const p = exact.subarray(row * vocab, (row + 1) * vocab)
    const q = other.subarray(row * vocab, (row + 1) * vocab)
    const [a, b] = [summary(p), summary(q)]
    for (let i = 0; i < vocab; i++) {
      const logP = defined(p[i]) - a.total
      kl += Math.exp(logP) * (logP - (defined(q[i]) - b.total))
    }
    if (a.best === b.best) top1++
    if (row === 0) [first, margin] = [a.best === b.best ? 1 : 0, b.margin]
  }
  return { kl: kl / rows, top1: top1 / rows, first, margin }
}

/**
 * Returns the smallest margin above which at least a share of `wanted` of the first tokens agree;
 * `auto` trusts no margin below it. Returns Infinity if there is none.
 */
export function gateFor(judged: readonly Pick<Agreement, 'first' | 'margin'>[], wanted: number): number {
  const surest = [...judged].sort((a, b) => b.margin - a.margin)
  let [agreed, gate] = [0, Infinity]
  surest.forEach(({ first, margin }, index) => {
    agreed += first
    if (agreed / (index + 1) >= wanted) gate = margin
  })
  return gate
}

function summary(logits: Float32Array): { total: number; best: number; margin: number } {
  let [best, top, second] = [0, at(logits, 0), -Infinity]
  for (let i = 1; i < logits.length; i++) {
    const logit = defined(logits[i])
    if (logit > top) [best, top, second] = [i, logit, top]
    else if (logit > second) second = logit
  }
  return { total: logSumExp(logits, top), best, margin: top - second }
}
