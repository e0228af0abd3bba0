/**
 * Searches for the layers to run within a budget. First it measures the cost of predicting each
 * block of layers alone; the costliest blocks are candidates to run, and the rest of the budget
 * goes to the first layers. Quick fits of the resulting plans are then compared.
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
import type { PredictorHeader } from '../../src/predict/header.ts'
import { type SharedPlan, windowOf } from '../../src/predict/plan.ts'
import type { DocumentSets } from './documents.ts'
import type { Ends } from './plan.ts'
import { type Probes, probesOf } from './probes.ts'
import { agreementOn, fitSources } from './sources.ts'

export interface SearchOptions {
  /** Maximum share of exact prefill's work, for prompts of `most` tokens. */
  readonly budget: number
  readonly most: number
  readonly ends: Ends
  readonly seed: number
  /** Number of tokens for each source of a quick fit. */
  readonly tokens: number
  readonly lambda: number
  readonly signal: AbortSignal
  readonly onProgress: (text: string) => void
}

export interface Search {
  readonly plan: SharedPlan
  /** The cost of each block and each plan, for the file's header. */
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

/** Opens an engine with or without a predictor; the caller closes it. */
export type OpenEngine = (predictor?: ByteSource) => Promise<Engine>

/** Number of probes of each kind. */
const probeCount = 8

/** Returns the best plan within the budget. Throws `bad_argument` if no plan fits it. */
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
        `no plan fits within ${budget} of exact prefill's work at ${most} tokens with a window of ${windowOf(ends, most)}; raise --budget`,
      )
    probes = await probesOf(first, sets.heldOut, { count: probeCount, length: Math.min(512, most), seed })
    onProgress('fitting all layers from an early one')
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
      ...(await evaluatePlan(openEngine, headerOf, plan, sets, probes, costs.exact, options)),
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

/** Divides the layers after the shared ones into blocks of a tenth of all layers. */
function blocksOf(shared: number, layers: number): Span[] {
  const size = Math.max(1, Math.round(layers / 10))
  const count = Math.ceil((layers - shared - 1) / size)
  return Array.from({ length: count }, (_, i) => {
    const from = shared + 1 + i * size
    return { from, to: Math.min(layers, from + size) }
  })
}

interface Costs {
  /** The mean KL with only this block predicted. */
  readonly blocks: readonly { readonly block: Span; readonly text: number; readonly recall: number }[]
  /**
   * Exact prefill's logits for each probe, (continuation, vocab), which plans are compared with.
   */
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
  /** Returns the mean KL over the probes for each block. */
  const mean = async (probes: readonly Probe[]) => {
    const sums = blocks.map(() => 0)
    for (const probe of probes) {
      signal.throwIfAborted()
      onProgress(`measuring the cost of each block of layers  ${exact.size + 1} of ${2 * probeCount}`)
      const [wanted, ...predicted] = await logits(probe, blocks)
      exact.set(probe, wanted!)
      for (const [block, one] of predicted.entries()) sums[block]! += agreement(wanted!, one, vocab).kl / probeCount
    }
    return sums.map((sum) => round(sum))
  }
  const [inText, inRecall] = [await mean(text), await mean(recall)]
  return { blocks: blocks.map((block, at) => ({ block, text: inText[at]!, recall: inRecall[at]! })), exact }
}

/**
 * Returns the plan that runs `blocks` and as many of the first layers as the budget allows, or
 * undefined if it allows none.
 */
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

async function evaluatePlan(
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
  const engine = await openEngine(memorySource('a candidate plan', await writePredictor(file)))
  try {
    const mean = async (all: readonly Probe[]) => {
      let sum = 0
      for (const probe of all) sum += (await agreementOn(engine, probe, exact.get(probe))).kl
      return round(sum / all.length)
    }
    return { text: await mean(probes.text), recall: await mean(probes.recall) }
  } finally {
    await engine.close()
  }
}

/** Fits a plan quickly, from other documents than the final fit. */
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
