/** Scores a method on a case, and averages scores over cases with their standard errors. */
import { at, defined } from '../../src/base/at.ts'
import { logProbability } from '../../src/decode/score.ts'
import { agreement } from '../../src/evaluate/agreement.ts'
import { quantile, round } from '../stats.ts'
import type { Case } from './drafts.ts'
import type { MethodResult } from './methods.ts'

/** The scores of one method on one case. */
export interface Score {
  /** The work relative to exact prefill, by formula. */
  readonly share: number
  /** Milliseconds from the prompt's ids to the logits of the first answer token. */
  readonly ttft_ms: number
  /** Mean KL divergence of the exact next-token distributions from the method's, in nats. */
  readonly kl: number
  /** The same for tokens 9 and later. */
  readonly kl_late: number
  /** Share of tokens with the same likeliest token, over all tokens and for the first alone. */
  readonly top1: number
  readonly first: number
  /** Mean negative log-likelihood of the continuation. */
  readonly nll: number
  /** For suites with a right answer: share of right tokens, and of right answers. */
  readonly right?: number
  readonly all_right?: number
  /** For suites with choices: whether the right one is the likeliest. */
  readonly chosen?: number
}

/** The means of scores: the median of `ttft_ms`, the means of all others. */
export interface MeanScore extends Score {
  readonly cases: number
  /** Standard errors of the means over the cases; null for a single case. */
  readonly kl_error: number | null
  readonly top1_error: number | null
  readonly first_error: number | null
  readonly nll_error: number | null
  readonly right_error?: number | null
  readonly chosen_error?: number | null
}

export function scoreOf(
  one: Case,
  reference: { readonly logits: readonly Float32Array[] },
  result: MethodResult,
): Score {
  const [continuation] = one.continuations as readonly [readonly number[]]
  const [exact, logits] = [at(reference.logits, 0), at(result.logits, 0)]
  const vocab = logits.length / continuation.length
  const { kl, top1, first } = agreement(exact, logits, vocab)
  const late = 8 * vocab
  const behind = continuation.length > 8 ? agreement(exact.subarray(late), logits.subarray(late), vocab).kl : kl
  const likelihoods = result.logits.map((rows, index) => meanLogProbability(rows, at(one.continuations, index)))
  const right = continuation.slice(0, one.gold).filter((id, row) => {
    const scores = logits.subarray(row * vocab, (row + 1) * vocab)
    return scores[id] === scores.reduce((a, b) => Math.max(a, b), -Infinity)
  }).length
  return {
    share: result.share,
    ttft_ms: result.ms,
    kl,
    kl_late: behind,
    top1,
    first,
    nll: -at(likelihoods, 0),
    ...(one.gold > 0 && { right: right / one.gold, all_right: right === one.gold ? 1 : 0 }),
    ...(likelihoods.length > 1 && { chosen: likelihoods[0] === Math.max(...likelihoods) ? 1 : 0 }),
  }
}

function meanLogProbability(logits: Float32Array, ids: readonly number[]): number {
  const vocab = logits.length / ids.length
  const total = ids.reduce(
    (sum, id, row) => sum + logProbability(logits.subarray(row * vocab, (row + 1) * vocab), id),
    0,
  )
  return total / ids.length
}

/** Averages at least one score. */
export function meanOf(scores: readonly Score[]): MeanScore {
  const values = (name: keyof Score) => scores.map((score) => defined(score[name]))
  const mean = (name: keyof Score, digits?: number) => round(meanAndError(values(name)).mean, digits)
  const error = (name: keyof Score) => {
    const { error } = meanAndError(values(name))
    return error === null ? null : round(error, 2)
  }
  const first = at(scores, 0)
  return {
    share: mean('share'),
    ttft_ms: round(quantile(values('ttft_ms'), 0.5)),
    cases: scores.length,
    kl: mean('kl'),
    kl_error: error('kl'),
    kl_late: mean('kl_late'),
    top1: mean('top1'),
    top1_error: error('top1'),
    first: mean('first'),
    first_error: error('first'),
    nll: mean('nll', 4),
    nll_error: error('nll'),
    ...(first.right !== undefined && {
      right: mean('right'),
      right_error: error('right'),
      all_right: mean('all_right'),
    }),
    ...(first.chosen !== undefined && { chosen: mean('chosen'), chosen_error: error('chosen') }),
  }
}

/**
 * Returns the mean and its standard error: the deviation of the sample, with n - 1, by the root of
 * n. One value has no error.
 */
export function meanAndError(values: readonly number[]): { readonly mean: number; readonly error: number | null } {
  const { length } = values
  const mean = values.reduce((sum, value) => sum + value, 0) / length
  const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0)
  return { mean, error: length < 2 ? null : Math.sqrt(squares / (length - 1) / length) }
}
