/** Runs suites over methods, and averages the scores. */
import { at, defined } from '../../src/base/at.ts'
import { logProbability } from '../../src/decode/score.ts'
import { agreement } from '../../src/evaluate/agreement.ts'
import type { Engine } from '../../src/index.ts'
import { quantile, round } from '../stats.ts'
import { type Effort, type MethodResult, methods } from './methods.ts'
import { type Case, type SuiteOptions, suites } from './suites.ts'

export interface QualityRow {
  readonly suite: string
  readonly length: number
  readonly method: string
  /** The requested work relative to exact prefill; null for the predictor's own plan. */
  readonly wanted: number | null
  /** The work relative to exact prefill, by formula; the mean over the cases. */
  readonly share: number
  /** Median milliseconds from the prompt's ids to the logits of the first answer token. */
  readonly ttft_ms: number
  readonly cases: number
  /**
   * Mean KL divergence of the exact next-token distributions from the method's, in nats, and its
   * standard error over the cases.
   */
  readonly kl: number
  readonly kl_error: number
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
  /** For suites with choices: how often the right one is the likeliest. */
  readonly chosen?: number
}

export interface QualityOptions extends Omit<SuiteOptions, 'length'> {
  readonly suites: readonly string[]
  readonly lengths: readonly number[]
  /** Shares of exact prefill's work to compare at; if empty, the predictor's own. */
  readonly shares: readonly number[]
  /** Called with each suite's rows. */
  readonly onRows?: (rows: readonly QualityRow[]) => void
  readonly onProgress?: (text: string) => void
}

export async function judgeQuality(engine: Engine, options: QualityOptions): Promise<QualityRow[]> {
  const rows: QualityRow[] = []
  for (const suite of options.suites)
    for (const length of options.lengths) {
      const cases = await defined(suites[suite])(engine, { ...options, length })
      const judged = await judgeSuite(engine, suite, length, cases, options)
      options.onRows?.(judged)
      rows.push(...judged)
    }
  return rows
}

async function judgeSuite(
  engine: Engine,
  suite: string,
  length: number,
  cases: readonly Case[],
  { seed, shares, onProgress }: QualityOptions,
): Promise<QualityRow[]> {
  const wanted = shares.length === 0 ? [undefined] : shares
  const runs = wanted.flatMap((share) => Object.keys(methods).map((method) => ({ method, share })))
  // Refined differs from predicted only after the first tokens, and choices are compared by their
  // first.
  const hasChoices = at(cases, 0).continuations.length > 1
  const compared = hasChoices ? runs.filter(({ method }) => method !== 'refined') : runs
  const refines = compared.some(({ method }) => method === 'refined')
  const refineRows = refines ? await measuredRefineRows(engine, at(cases, 0)) : 0
  const exact: Score[] = []
  const scores = compared.map((): Score[] => [])
  for (const [index, one] of cases.entries()) {
    onProgress?.(`${suite} ${length}  ${index + 1} of ${cases.length}`)
    const reference = await engine.workbench.logitsAfter(one)
    exact.push(scoreOf(one, reference, { ...reference, share: 1 }))
    for (const [column, { method, share }] of compared.entries()) {
      const effort: Effort = { share, refineRows, seed: seed + index }
      at(scores, column).push(scoreOf(one, reference, await defined(methods[method])(engine, one, effort)))
    }
  }
  const head = { suite, length }
  return [
    { ...head, method: 'exact', wanted: 1, ...meanOf(exact) },
    ...compared.map(({ method, share }, column) => {
      return { ...head, method, wanted: share ?? null, ...meanOf(at(scores, column)) }
    }),
  ]
}

/**
 * Returns the number of tokens that the scheduler makes exact beside each answer token of one
 * stream, on this machine.
 */
async function measuredRefineRows(engine: Engine, { prompt }: Case): Promise<number> {
  const submitted = engine.submit({ prompt, prefill: 'refined', maxTokens: 96, ignoreEos: true })
  const { exact_from, tokens } = await submitted
    .result()
    .then(({ exact_from, ids }) => ({ exact_from, tokens: ids.length }))
  const until = exact_from ?? tokens
  return Math.max(1, Math.round((prompt.length + until) / Math.max(1, until)))
}

type Score = Omit<QualityRow, 'suite' | 'length' | 'method' | 'wanted' | 'cases' | 'kl_error'>

function scoreOf(one: Case, reference: { readonly logits: readonly Float32Array[] }, result: MethodResult): Score {
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

function meanOf(scores: readonly Score[]): Omit<QualityRow, 'suite' | 'length' | 'method' | 'wanted'> {
  const mean = (of: (score: Score) => number) => scores.reduce((sum, score) => sum + of(score), 0) / scores.length
  const kl = mean((score) => score.kl)
  const deviation = Math.sqrt(mean((score) => (score.kl - kl) ** 2))
  const rated = (['right', 'all_right', 'chosen'] as const).filter((name) => scores[0]?.[name] !== undefined)
  return {
    share: round(mean(({ share }) => share)),
    ttft_ms: round(
      quantile(
        scores.map(({ ttft_ms }) => ttft_ms),
        0.5,
      ),
    ),
    cases: scores.length,
    kl: round(kl),
    kl_error: round(deviation / Math.sqrt(scores.length), 2),
    kl_late: round(mean(({ kl_late }) => kl_late)),
    top1: round(mean(({ top1 }) => top1)),
    first: round(mean(({ first }) => first)),
    nll: round(
      mean(({ nll }) => nll),
      4,
    ),
    ...Object.fromEntries(rated.map((name) => [name, round(mean((score) => defined(score[name])))])),
  }
}
