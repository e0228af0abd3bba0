/** Runs suites over methods, and adds up. */
import { logProbability } from '../../src/decode/score.ts'
import { agreement } from '../../src/fit/judge.ts'
import type { Engine } from '../../src/index.ts'
import { round } from '../stats.ts'
import { methods } from './methods.ts'
import { type Case, type SuiteOptions, suites } from './suites.ts'

export interface QualityRow {
  readonly suite: string
  readonly length: number
  readonly method: string
  /** Of exact prefill's work, by formula; the mean over the cases. */
  readonly share: number
  readonly cases: number
  /** Mean KL of exact next-token distributions from the method's, nats, and the standard error over the cases. */
  readonly kl: number
  readonly kl_error: number
  /** Same likeliest token, over all tokens and of the first alone. */
  readonly top1: number
  readonly first: number
  /** Mean negative log-likelihood of the continuation. */
  readonly nll: number
  /** Of suites with a right answer: tokens got right, and whole answers. */
  readonly right?: number
  readonly all_right?: number
}

export interface QualityOptions extends Omit<SuiteOptions, 'length'> {
  readonly suites: readonly string[]
  readonly lengths: readonly number[]
  readonly onProgress?: (text: string) => void
}

export async function judgeQuality(engine: Engine, options: QualityOptions): Promise<QualityRow[]> {
  const rows: QualityRow[] = []
  for (const suite of options.suites)
    for (const length of options.lengths) {
      const cases = await suites[suite]!(engine, { ...options, length })
      rows.push(...(await judgeSuite(engine, suite, length, cases, options)))
    }
  return rows
}

async function judgeSuite(
  engine: Engine,
  suite: string,
  length: number,
  cases: readonly Case[],
  { seed, onProgress }: QualityOptions,
): Promise<QualityRow[]> {
  const { vocab } = engine.archive.config
  const names = ['exact', ...Object.keys(methods)]
  const scores = new Map<string, Score[]>(names.map((name) => [name, []]))
  for (const [index, one] of cases.entries()) {
    onProgress?.(`${suite} ${length}  ${index + 1} of ${cases.length}`)
    const exact = await engine.workbench.logitsAfter(one.prompt, one.continuation)
    scores.get('exact')!.push(scoreOf(one, exact, exact, vocab, 1))
    // Others get as much work as the prediction took.
    const { share } = await add('predicted', 1)
    for (const name of Object.keys(methods)) if (name !== 'predicted') await add(name, share)

    async function add(name: string, share: number) {
      const judged = await methods[name]!(engine, one, share, seed + index)
      scores.get(name)!.push(scoreOf(one, exact, judged.logits, vocab, judged.share))
      return judged
    }
  }
  return names.map((method) => ({ suite, length, method, ...meanOf(scores.get(method)!) }))
}

interface Score {
  readonly share: number
  readonly kl: number
  readonly top1: number
  readonly first: number
  readonly nll: number
  readonly right: number
  readonly all_right: number
  readonly gold: boolean
}

function scoreOf(one: Case, exact: Float32Array, logits: Float32Array, vocab: number, share: number): Score {
  const { kl, top1, first } = agreement(exact, logits, vocab)
  let [nll, right] = [0, 0]
  one.continuation.forEach((id, row) => {
    const scores = logits.subarray(row * vocab, (row + 1) * vocab)
    const top = scores.reduce((a, b) => Math.max(a, b), -Infinity)
    nll -= logProbability(scores, id)
    if (row < one.gold && scores[id] === top) right++
  })
  const gold = one.gold > 0
  const all_right = gold && right === one.gold ? 1 : 0
  return {
    share,
    kl,
    top1,
    first,
    nll: nll / one.continuation.length,
    right: gold ? right / one.gold : 0,
    all_right,
    gold,
  }
}

function meanOf(scores: readonly Score[]): Omit<QualityRow, 'suite' | 'length' | 'method'> {
  const mean = (of: (score: Score) => number) => scores.reduce((sum, score) => sum + of(score), 0) / scores.length
  const kl = mean((score) => score.kl)
  const deviation = Math.sqrt(mean((score) => (score.kl - kl) ** 2))
  return {
    share: round(mean(({ share }) => share)),
    cases: scores.length,
    kl: round(kl),
    kl_error: round(deviation / Math.sqrt(scores.length), 2),
    top1: round(mean(({ top1 }) => top1)),
    first: round(mean(({ first }) => first)),
    nll: round(
      mean(({ nll }) => nll),
      4,
    ),
    ...(scores[0]?.gold && {
      right: round(mean(({ right }) => right)),
      all_right: round(mean((one) => one.all_right)),
    }),
  }
}
