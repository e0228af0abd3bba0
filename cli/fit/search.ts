/**
 * Which layers to run under a budget: the cost of predicting each block of layers by itself tells which ones to run, what is left of
 * the budget goes to layers in front, and quick fits of the few plans that come of it are judged against each other.
 */
import { type Engine, ForetokenError } from '../../node/index.ts'
import { agreement } from '../../src/fit/judge.ts'
import type { Probe } from '../../src/fit/sensitivity.ts'
import type { Span } from '../../src/model/llama.ts'
import { type LinearMap, type PredictorFile, writePredictor } from '../../src/model/predictor-file.ts'
import { type PredictorHeader, type SharedPlan, sourcesOf, windowOf } from '../../src/model/predictor-plan.ts'
import { memorySource } from '../../src/model/source.ts'
import { sharedShare } from '../../src/prefill/cost.ts'
import type { ByteSource, ModelConfig } from '../../src/types.ts'
import { type DocumentSets, documentIds } from './documents.ts'
import type { Ends } from './plan.ts'
import { type Probes, probesOf } from './probes.ts'

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
  let blocks: Search['record']['blocks'][number][]
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
    blocks = await costsOf(first, file, probes, blocksOf(plan.shared, config.layers), options)
  } finally {
    await first.close()
  }
  const dearest = [...blocks].sort((a, b) => b.text + b.recall - (a.text + a.recall))
  const plans = [0, 1, 2, 3].flatMap((count) => planWith(dearest.slice(0, count).map(spanOf), config, options) ?? [])
  const judged: { plan: SharedPlan; share: number; text: number; recall: number }[] = []
  for (const [index, plan] of plans.entries()) {
    onProgress(`trying plan ${index + 1} of ${plans.length}: ${described(plan)}`)
    judged.push({
      plan,
      share: shareOf(plan, config, most),
      ...(await tried(openEngine, headerOf, plan, sets, probes, options)),
    })
  }
  const best = judged.reduce((a, b) => (b.text + b.recall < a.text + a.recall ? b : a))
  const record = { budget, blocks, plans: judged.map(({ plan, ...rest }) => ({ plan: described(plan), ...rest })) }
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

async function costsOf(
  engine: Engine,
  file: PredictorFile,
  { text, recall }: Probes,
  blocks: readonly Span[],
  { signal, onProgress }: SearchOptions,
): Promise<Search['record']['blocks'][number][]> {
  const logits = engine.workbench.sensitivity(file)
  const { vocab } = engine.archive.config
  const sums = { text: blocks.map(() => 0), recall: blocks.map(() => 0) }
  const all: (readonly ['text' | 'recall', Probe])[] = [
    ...text.map((probe) => ['text', probe] as const),
    ...recall.map((probe) => ['recall', probe] as const),
  ]
  for (const [index, [kind, probe]] of all.entries()) {
    signal.throwIfAborted()
    onProgress(`what each block of layers costs  ${index + 1} of ${all.length}`)
    const [exact, ...told] = await logits(probe, blocks)
    for (const [block, one] of told.entries()) sums[kind][block]! += agreement(exact!, one, vocab).kl / probeCount
  }
  return blocks.map(({ from, to }, block) => ({
    layers: `${from}-${to - 1}`,
    text: rounded(sums.text[block]!),
    recall: rounded(sums.recall[block]!),
  }))
}

function spanOf({ layers }: { layers: string }): Span {
  const [from, last] = layers.split('-').map(Number)
  return { from: from!, to: last! + 1 }
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
  const most_shared = (runs[0]?.from ?? config.layers) - 1
  for (let shared = most_shared; shared >= 1; shared--) {
    const plan: SharedPlan = { kind: 'shared', shared, runs, taps, ...ends }
    if (shareOf(plan, config, most) <= budget) return plan
  }
  return undefined
}

function shareOf(plan: SharedPlan, config: ModelConfig, length: number): number {
  const until = Math.max(plan.sinks, length - windowOf(plan, length))
  return rounded(sharedShare(config, plan, { length, first: 0, from: plan.sinks, until }))
}

async function tried(
  openEngine: OpenEngine,
  headerOf: (engine: Engine, plan: SharedPlan) => PredictorHeader,
  plan: SharedPlan,
  sets: DocumentSets,
  probes: Probes,
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
      for (const probe of some) {
        const exact = await engine.workbench.logitsAfter(probe)
        const told = await engine.workbench.logitsAfter(probe, { prefill: 'predicted' })
        sum += agreement(exact.logits[0]!, told.logits[0]!, engine.archive.config.vocab).kl
      }
      return rounded(sum / some.length)
    }
    return { text: await mean(probes.text), recall: await mean(probes.recall) }
  } finally {
    await engine.close()
  }
}

async function quickFit(
  engine: Engine,
  header: PredictorHeader,
  sets: DocumentSets,
  { tokens, lambda, seed, most, signal }: SearchOptions,
): Promise<PredictorFile> {
  const maps = new Map<string, LinearMap>()
  const gains: Float32Array[] = []
  for (const [index] of sourcesOf(header.plan, header.layers).entries()) {
    const documents = documentIds(engine, sets.training, { seed: seed * 1000 + 500 + index, most })
    const fitted = await engine.workbench.fitSource(header, { maps, gains }, index, documents, {
      tokens,
      lambda,
      signal,
    })
    for (const [name, map] of fitted.maps) maps.set(name, map)
    gains.push(fitted.gain)
  }
  return { header, maps, gains }
}

function described({ shared, runs }: SharedPlan): string {
  return [`0-${shared - 1}`, ...runs.map(({ from, to }) => `${from}-${to - 1}`)].join(' + ')
}

function rounded(value: number): number {
  return Number(value.toPrecision(3))
}
