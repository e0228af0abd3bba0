/**
 * Which layers to run under a budget: the cost of predicting each block of layers by itself tells which ones to run, what is left of
 * the budget goes to layers in front, and quick fits of the few plans that come of it are judged against each other.
 */
import { round } from '../../bench/stats.ts'
import { type Engine, ForetokenError } from '../../node/index.ts'
import type { ByteSource } from '../../src/base/bytes.ts'
import type { ModelConfig } from '../../src/base/model.ts'
import { agreement } from '../../src/evaluate/agreement.ts'
import type { Probe } from '../../src/evaluate/sensitivity.ts'
import type { Span } from '../../src/model/forward.ts'
import { memorySource } from '../../src/model/source.ts'
import { sharedShare } from '../../src/predict/cost.ts'
import { type PredictorFile, writePredictor } from '../../src/predict/file.ts'
import { type PredictorHeader, type SharedPlan, windowOf } from '../../src/predict/plan.ts'
import type { DocumentSets } from './documents.ts'
import type { Ends } from './plan.ts'
import { type Probes, probesOf } from './probes.ts'
import { agreementOn, fitSources } from './sources.ts'

export interface SearchOptions {
  /** Share of exact prefill's work, at prompts of `most` tokens. */
  readonly budget: number
  readonly most: number
  readonly ends: Ends
  readonly seed: number
  /** Tokens of each quick fit's sources. */
  readonly tokens: number
  readonly lambda: number
  readonly signal: AbortSignal
  readonly onProgress: (text: string) => void
}

export interface Search {
  readonly plan: SharedPlan
  /** For people: what each block costs, and each plan. */
  readonly record: {
    readonly budget: number
    readonly blocks: readonly { readonly layers: string; readonly text: number; readonly recall: number }[]
    readonly plans: readonly {
      readonly plan: string
      readonly share: number
      readonly text: number
      readonly recall: number
    }[]
  }
}

/** An engine with or without a predictor; the caller closes it. */
export type OpenEngine = (predictor?: ByteSource) => Promise<Engine>

/** Probes of each kind. */
const probeCount = 8

/** Throws `bad_argument` for a budget that no plan keeps to. */
export async function searchPlan(
  openEngine: OpenEngine,
  headerOf: (engine: Engine, plan: SharedPlan) => PredictorHeader,
  sets: DocumentSets,
  options: SearchOptions,
): Promise<Search> {
  const { budget, most, ends, seed, onProgress } = options
  const first = await openEngine()
  let costs: Costs
  let config: ModelConfig
  let probes: Probes
  try {
    config = first.archive.config
    if (!planWith([], config, options))
      throw new ForetokenError(
        'bad_argument',
        `no plan keeps to ${budget} of exact prefill's work at ${most} tokens with a window of ${windowOf(ends, most)}; give more`,
      )
    probes = await probesOf(first, sets.heldOut, { count: probeCount, length: Math.min(512, most), seed })
    onProgress('fitting all layers from one of the first')
    const plan: SharedPlan = {
      kind: 'shared',
      shared: Math.max(1, Math.round(config.layers / 6)),
      runs: [],
      taps: [0],
      ...ends,
    }
    const file = await quickFit(first, headerOf(first, plan), sets, options)
    costs = await costsOf(first, file, probes, blocksOf(plan.shared, config.layers), options)
  } finally {
    await first.close()
  }
  const dearest = [...costs.blocks].sort((a, b) => b.text + b.recall - (a.text + a.recall)).map(({ block }) => block)
  const plans = [0, 1, 2, 3].flatMap((count) => planWith(dearest.slice(0, count), config, options) ?? [])
  const judged: { plan: SharedPlan; share: number; text: number; recall: number }[] = []
  for (const [index, plan] of plans.entries()) {
    onProgress(`trying plan ${index + 1} of ${plans.length}: ${described(plan)}`)
    judged.push({
      plan,
      share: shareOf(plan, config, most),
      ...(await tried(openEngine, headerOf, plan, sets, probes, costs.exact, options)),
    })
  }
  const best = judged.reduce((a, b) => (b.text + b.recall < a.text + a.recall ? b : a))
  const record = {
    budget,
    blocks: costs.blocks.map(({ block, ...rest }) => ({ layers: named(block), ...rest })),
    plans: judged.map(({ plan, ...rest }) => ({ plan: described(plan), ...rest })),
  }
  return { plan: best.plan, record }
}

/** Tenths of the layers behind the shared ones. */
function blocksOf(shared: number, layers: number): Span[] {
  const size = Math.max(1, Math.round(layers / 10))
  const count = Math.ceil((layers - shared - 1) / size)
  return Array.from({ length: count }, (_, i) => {
    const from = shared + 1 + i * size
    return { from, to: Math.min(layers, from + size) }
  })
}

interface Costs {
  /** Mean KL with one block predicted. */
  readonly blocks: readonly { readonly block: Span; readonly text: number; readonly recall: number }[]
  /** What exact prefill says of each probe, (continuation, vocab): plans are judged by the same. */
  readonly exact: ReadonlyMap<Probe, Float32Array>
}

async function costsOf(
  engine: Engine,
  file: PredictorFile,
  { text, recall }: Probes,
  blocks: readonly Span[],
  { signal, onProgress }: SearchOptions,
): Promise<Costs> {
  const logits = engine.workbench.sensitivity(file)
  const { vocab } = engine.archive.config
  const exact = new Map<Probe, Float32Array>()
  /** Of each block, the mean over probes. */
  const mean = async (probes: readonly Probe[]) => {
    const sums = blocks.map(() => 0)
    for (const probe of probes) {
      signal.throwIfAborted()
      onProgress(`what each block of layers costs  ${exact.size + 1} of ${2 * probeCount}`)
      const [wanted, ...told] = await logits(probe, blocks)
      exact.set(probe, wanted!)
      for (const [block, one] of told.entries()) sums[block]! += agreement(wanted!, one, vocab).kl / probeCount
    }
    return sums.map((sum) => round(sum))
  }
  const [inText, inRecall] = [await mean(text), await mean(recall)]
  return { blocks: blocks.map((block, at) => ({ block, text: inText[at]!, recall: inRecall[at]! })), exact }
}

/** The plan that runs some blocks and as many layers in front as the budget pays; undefined if it pays none. */
function planWith(
  blocks: readonly Span[],
  config: ModelConfig,
  { budget, most, ends }: SearchOptions,
): SharedPlan | undefined {
  const runs: { from: number; to: number }[] = []
  for (const { from, to } of [...blocks].sort((a, b) => a.from - b.from)) {
    const last = runs.at(-1)
    if (last?.to === from) last.to = to
    else runs.push({ from, to })
  }
  const taps = [0, ...runs.map(() => 0)]
  const mostShared = (runs[0]?.from ?? config.layers) - 1
  for (let shared = mostShared; shared >= 1; shared--) {
    const plan: SharedPlan = { kind: 'shared', shared, runs, taps, ...ends }
    if (shareOf(plan, config, most) <= budget) return plan
  }
  return undefined
}

function shareOf(plan: SharedPlan, config: ModelConfig, length: number): number {
  const until = Math.max(plan.sinks, length - windowOf(plan, length))
  return round(sharedShare(config, plan, { length, first: 0, from: plan.sinks, until }))
}

async function tried(
  openEngine: OpenEngine,
  headerOf: (engine: Engine, plan: SharedPlan) => PredictorHeader,
  plan: SharedPlan,
  sets: DocumentSets,
  probes: Probes,
  exact: Costs['exact'],
  options: SearchOptions,
): Promise<{ text: number; recall: number }> {
  const fitting = await openEngine()
  let file: PredictorFile
  try {
    file = await quickFit(fitting, headerOf(fitting, plan), sets, options)
  } finally {
    await fitting.close()
  }
  const engine = await openEngine(memorySource('a plan that is tried', await writePredictor(file)))
  try {
    const mean = async (some: readonly Probe[]) => {
      let sum = 0
      for (const probe of some) sum += (await agreementOn(engine, probe, exact.get(probe))).kl
      return round(sum / some.length)
    }
    return { text: await mean(probes.text), recall: await mean(probes.recall) }
  } finally {
    await engine.close()
  }
}

/** Other documents than the fit itself takes. */
function quickFit(engine: Engine, header: PredictorHeader, sets: DocumentSets, options: SearchOptions) {
  const { tokens, lambda, seed, most, signal } = options
  return fitSources(engine, header, sets.training, { seed: seed * 1000 + 500, most, tokens, lambda, signal })
}

function described({ shared, runs }: SharedPlan): string {
  return [{ from: 0, to: shared }, ...runs].map(named).join(' + ')
}

function named({ from, to }: Span): string {
  return `${from}-${to - 1}`
}
