/** Ways to have a first token early, each from the same prompt, to compare with the exact model. */
import { at, defined } from '../../src/base/at.ts'
import { chunkHead } from '../../src/decode/placing.ts'
import { createRandom } from '../../src/decode/random.ts'
import type { Judgement } from '../../src/evaluate/judge.ts'
import type { Engine } from '../../src/index.ts'
import { placedShare } from '../../src/predict/cost.ts'
import type { PredictorFile } from '../../src/predict/file.ts'
import type { Case } from './drafts.ts'
import { firstLayersShare, keptShare, largest, prunedShare, skippedFor, skippedShare } from './work.ts'

export interface MethodResult extends Judgement {
  /** The prefill's work relative to exact prefill, by formula. */
  readonly share: number
}

export interface Effort {
  /** The requested work relative to exact prefill; absent for the predictor's own plan. */
  readonly share: number | undefined
  /** Number of tokens that `refined` makes exact beside each answer token. */
  readonly refineRows: number
  readonly seed: number
}

/** Returns SwiftKV's maps for skipping the layers from one on; they are fitted when first needed. */
export type SwiftKvMaps = (from: number) => Promise<PredictorFile>

type Method = (one: Case, effort: Effort) => Promise<MethodResult>

/** The methods by name, and what they do, for people. */
export const methodNames = {
  predicted: 'the predictor',
  refined: 'the predictor, made exact while the answer is written',
  chunks: 'documents are computed alone and placed, all but their first tokens (after EPIC, arXiv 2410.15332)',
  truncate: 'the first 4 and the last tokens of the prompt alone',
  pop: 'late layers are skipped; their own weights make K and V (POP, arXiv 2602.03295)',
  swiftkv: 'late layers are skipped; fitted weights make K and V (SwiftKV, arXiv 2410.03960, fitted in closed form)',
  attention: 'the tokens that get least attention are dropped on the way (after LazyLLM, arXiv 2407.14057)',
  random: 'random tokens are dropped',
  aux: 'the first layers alone',
} as const

export type MethodName = keyof typeof methodNames

/**
 * Returns the methods for an engine. Each does the requested share of the work, or comes as close to
 * it as it can.
 */
export function methodsOf(engine: Engine, maps: SwiftKvMaps): Readonly<Record<MethodName, Method>> {
  const { config } = engine.archive
  const { workbench } = engine
  const wantedShare = (length: number, { share }: Effort) => share ?? sharePredicted(engine, length)
  const skipping = skippingOf(engine, maps)
  /** Judges a prompt of which only `positions` are left. */
  const kept = async ({ prompt, continuations }: Case, positions: readonly number[]) => {
    const left = positions.map((position) => at(prompt, position))
    const judged = await workbench.logitsAfter({ prompt: left, continuations })
    return { ...judged, share: keptShare(config, prompt.length, left.length) }
  }
  const predicted = async ({ prompt, continuations }: Case, effort: Effort, prefill: 'predicted' | 'refined') => {
    const { share, refineRows } = effort
    const window = share === undefined ? undefined : windowFor(engine, prompt.length, share)
    const how = { prefill, refineRows, ...(window !== undefined && { window }) }
    const judged = await workbench.logitsAfter({ prompt, continuations }, how)
    return { ...judged, share: sharePredicted(engine, prompt.length, window) }
  }
  const skipped = async (one: Case, effort: Effort, how: 'pop' | 'swiftkv') => {
    const part = skippedFor(config, one.prompt.length, wantedShare(one.prompt.length, effort))
    const judged = await (await skipping(how, part.from))(one, part.window)
    return { ...judged, share: skippedShare(config, one.prompt.length, part) }
  }
  return {
    predicted: (one, effort) => predicted(one, effort, 'predicted'),

    refined: (one, effort) => predicted(one, effort, 'refined'),

    /** Runs the question and the first tokens of each chunk: a few, or as many as the share allows. */
    async chunks({ prompt, continuations, chunks = [] }, { share }) {
      const { length } = prompt
      const placed = (head: number) => chunks.map(({ from, to }) => ({ from: Math.min(to, from + head), to }))
      const shareOf = (head: number) => placedShare(config, { length, first: 0 }, placed(head))
      const head = largest(chunkHead, length, (head) => share !== undefined && shareOf(head) <= share)
      const how = { chunks, sinks: engine.chunks.sinks, recomputed: head }
      return { ...(await workbench.logitsPlaced({ prompt, continuations }, how)), share: shareOf(head) }
    },

    truncate(one, effort) {
      const { length } = one.prompt
      const count = keptTokens(engine, length, wantedShare(length, effort))
      return kept(one, [...range(0, 4), ...range(length - count + 4, length)])
    },

    pop: (one, effort) => skipped(one, effort, 'pop'),

    swiftkv: (one, effort) => skipped(one, effort, 'swiftkv'),

    /** The first layers, two thirds of the share, see all tokens; the others see some. */
    async attention({ prompt, continuations }, effort) {
      const { length } = prompt
      const { layers } = config
      const share = wantedShare(length, effort)
      const layer = Math.min(layers - 1, Math.max(1, Math.round(share * layers * (2 / 3))))
      const keep = largest(24, length, (keep) => prunedShare(config, length, { layer, keep }) <= share)
      const judged = await workbench.logitsPruned({ prompt, continuations }, { layer, keep })
      return { ...judged, share: prunedShare(config, length, { layer, keep }) }
    },

    /** Keeps the first 4, the last 16, and others drawn at random. */
    random(one, effort) {
      const { length } = one.prompt
      const next = createRandom(effort.seed)
      const count = keptTokens(engine, length, wantedShare(length, effort))
      const middle = range(4, length - 16).map((position) => ({ position, key: next() }))
      const drawn = middle.sort((a, b) => a.key - b.key).slice(0, Math.max(0, count - 20))
      const positions = drawn.map(({ position }) => position).sort((a, b) => a - b)
      return kept(one, [...range(0, 4), ...positions, ...range(length - 16, length)])
    },

    async aux({ prompt, continuations }, effort) {
      const { length } = prompt
      const share = wantedShare(length, effort)
      const run = largest(1, config.layers, (layers) => firstLayersShare(config, length, layers) <= share)
      const judged = await workbench.logitsOfLayers({ prompt, continuations }, run)
      return { ...judged, share: firstLayersShare(config, length, run) }
    },
  }
}

/** Returns the share of the predictor's own plan, or with `window` exact tokens at the end. */
function sharePredicted({ prediction, archive }: Engine, length: number, window?: number): number {
  return defined(prediction).share(archive.config, length, 0, window)
}

/** Returns the largest window within the share, and at least 16. */
function windowFor(engine: Engine, length: number, share: number): number {
  return largest(16, length, (window) => sharePredicted(engine, length, window) <= share)
}

/**
 * Returns the number of tokens whose exact prefill takes a share of the whole work. It is larger
 * than that share of the tokens, since attention grows with the square.
 */
function keptTokens(engine: Engine, length: number, share: number): number {
  return largest(Math.min(24, length), length, (kept) => keptShare(engine.archive.config, length, kept) <= share)
}

/** Returns a function that makes a baseline the first time and keeps it. */
function skippingOf({ workbench, archive }: Engine, maps: SwiftKvMaps) {
  const made = new Map<string, ReturnType<Engine['workbench']['skipping']>>()
  const make = async (how: 'pop' | 'swiftkv', from: number) => {
    // Where no layer is skipped there is nothing to fit.
    const fitted = how === 'swiftkv' && from < archive.config.layers
    return workbench.skipping(fitted ? await maps(from) : from)
  }
  return (how: 'pop' | 'swiftkv', from: number) => {
    const name = `${how} ${from}`
    const skipping = made.get(name) ?? make(how, from)
    made.set(name, skipping)
    return skipping
  }
}

function range(from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i)
}
