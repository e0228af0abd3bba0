/** Runs suites over methods, case by case, and averages the scores. */
import { at, defined } from '../../src/base/at.ts'
import type { Engine } from '../../src/index.ts'
import { round } from '../stats.ts'
import type { Case, Draft, SuiteOptions } from './drafts.ts'
import { type Effort, type MethodName, methodsOf, type SwiftKvMaps } from './methods.ts'
import { type MeanScore, meanAndError, meanOf, type Score, scoreOf } from './score.ts'
import type { ScoreLog, ScorePlace } from './score-log.ts'
import { suites } from './suites.ts'

export interface QualityRow extends MeanScore {
  readonly suite: string
  readonly length: number
  readonly method: string
  /** The requested work relative to exact prefill; null for the predictor's own plan. */
  readonly wanted: number | null
  /** For suites with parts, the KL of each, such as by where the asked passage stands. */
  readonly groups?: Readonly<Record<string, GroupScore>>
}

interface GroupScore {
  readonly cases: number
  readonly kl: number
  readonly kl_error: number | null
  readonly first: number
}

export interface QualityOptions extends Omit<SuiteOptions, 'length'> {
  readonly suites: readonly string[]
  readonly methods: readonly MethodName[]
  readonly lengths: readonly number[]
  /** Shares of exact prefill's work to compare at; if empty, the predictor's own. */
  readonly shares: readonly number[]
  /** For `swiftkv`. */
  readonly maps: SwiftKvMaps
  /** Where scores are kept, and those of an earlier run are found. */
  readonly log: ScoreLog
  /** Called with each suite's rows. */
  readonly onRows?: (rows: readonly QualityRow[]) => void
  readonly onProgress?: (text: string) => void
}

/** A suite at one length. */
export interface SuiteDrafts {
  readonly suite: string
  readonly length: number
  readonly drafts: readonly Draft[]
}

/** Makes the drafts of all suites and lengths, so that what is wrong with one shows at once. */
export async function draftsOf(
  engine: Engine,
  options: Omit<SuiteOptions, 'length'> & Pick<QualityOptions, 'suites' | 'lengths'>,
): Promise<SuiteDrafts[]> {
  const all: SuiteDrafts[] = []
  for (const suite of options.suites)
    for (const length of options.lengths)
      all.push({ suite, length, drafts: await defined(suites[suite]).drafts(engine, { ...options, length }) })
  return all
}

export async function judgeQuality(
  engine: Engine,
  all: readonly SuiteDrafts[],
  options: Omit<QualityOptions, 'suites' | 'lengths' | 'folder' | 'cases'>,
): Promise<QualityRow[]> {
  const rows: QualityRow[] = []
  const methods = methodsOf(engine, options.maps)
  for (const one of all) {
    const judged = await judgeSuite(engine, methods, one, options)
    options.onRows?.(judged)
    rows.push(...judged)
  }
  return rows
}

interface Run {
  readonly method: MethodName | 'exact'
  readonly share: number | undefined
}

async function judgeSuite(
  engine: Engine,
  methods: ReturnType<typeof methodsOf>,
  { suite, length, drafts }: SuiteDrafts,
  { seed, shares, methods: names, log, onProgress }: Parameters<typeof judgeQuality>[2],
): Promise<QualityRow[]> {
  const wanted = shares.length === 0 ? [undefined] : shares
  // Refined differs from predicted only after the first tokens, and choices are compared by their
  // first. Only documents come again.
  const compared = names.filter((name) => {
    return name === 'refined' ? suite !== 'questions' : name !== 'chunks' || suite === 'documents'
  })
  const runs: Run[] = [
    { method: 'exact', share: 1 },
    ...wanted.flatMap((share) => compared.map((method) => ({ method, share }))),
  ]
  const scores = runs.map((): Score[] => [])
  let refineRows: number | undefined
  for (const [index, draft] of drafts.entries()) {
    const placeOf = ({ method, share }: Run): ScorePlace => {
      return { suite, length, index, key: draft.key, method, wanted: share ?? null }
    }
    const missing = runs.filter((run) => !log.get(placeOf(run)))
    if (missing.length > 0) {
      onProgress?.(`${suite}, ${length} tokens: ${index + 1} of ${drafts.length}`)
      const one = await draft.make()
      const reference = await engine.workbench.logitsAfter(one)
      for (const run of missing) {
        const { method, share } = run
        if (method === 'refined') refineRows ??= await measuredRefineRows(engine, one)
        const effort: Effort = { share, refineRows: refineRows ?? 0, seed: seed + index }
        const result = method === 'exact' ? { ...reference, share: 1 } : await methods[method](one, effort)
        await log.add(placeOf(run), scoreOf(one, reference, result))
        onProgress?.(`${suite}, ${length} tokens: ${index + 1} of ${drafts.length}, ${method}`)
      }
    }
    for (const [column, run] of runs.entries()) at(scores, column).push(defined(log.get(placeOf(run))))
  }
  return runs.map(({ method, share }, column): QualityRow => {
    const all = at(scores, column)
    const groups = groupsOf(drafts, all)
    return { suite, length, method, wanted: share ?? null, ...meanOf(all), ...(groups && { groups }) }
  })
}

function groupsOf(drafts: readonly Draft[], scores: readonly Score[]): QualityRow['groups'] {
  const names = [...new Set(drafts.flatMap(({ group }) => group ?? []))]
  if (names.length === 0) return undefined
  return Object.fromEntries(
    names.map((name) => {
      const mine = scores.filter((_, index) => drafts[index]?.group === name)
      const { mean, error } = meanAndError(mine.map(({ kl }) => kl))
      const first = meanAndError(mine.map(({ first }) => first)).mean
      return [
        name,
        { cases: mine.length, kl: round(mean), kl_error: error === null ? null : round(error, 2), first: round(first) },
      ]
    }),
  )
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
