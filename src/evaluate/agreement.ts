/** How near answers from a predicted cache are to those from an exact one. */
import { sumExp } from '../base/numbers.ts'

/** Over the tokens of one continuation, or the means of many. */
export interface Agreement {
  /** Mean KL of the exact next-token distributions from the others, nats. */
  readonly kl: number
  /** Share of positions with the same likeliest token. */
  readonly top1: number
  /** The same, of the first position alone. */
  readonly first: number
  /** Of the predicted first token: its log-probability over the second's. */
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
      const logP = p[i]! - a.total
      kl += Math.exp(logP) * (logP - (q[i]! - b.total))
    }
    if (a.best === b.best) top1++
    if (row === 0) [first, margin] = [a.best === b.best ? 1 : 0, b.margin]
  }
  return { kl: kl / rows, top1: top1 / rows, first, margin }
}

/**
 * The smallest margin above which first tokens agree in a share of `wanted`, or more; `auto` trusts nothing below it. Infinite if
 * there is none.
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
  let [best, second] = [0, -Infinity]
  for (let i = 1; i < logits.length; i++)
    if (logits[i]! > logits[best]!) [best, second] = [i, logits[best]!]
    else if (logits[i]! > second) second = logits[i]!
  const top = logits[best]!
  return { total: top + Math.log(sumExp(logits, top)), best, margin: top - second }
}
