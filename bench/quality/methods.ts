/** Ways to have a first token early, each from the same prompt, to compare with the exact model. */
import { at, defined } from '../../src/base/at.ts'
import { createRandom } from '../../src/decode/random.ts'
import type { Judgement } from '../../src/evaluate/judge.ts'
import type { Engine } from '../../src/index.ts'
import { layerCost } from '../../src/predict/cost.ts'
import type { Case } from './suites.ts'

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

export type Method = (engine: Engine, one: Case, effort: Effort) => Promise<MethodResult>

/**
 * The methods by name. Each does the requested share of the work, or comes as close to it as it
 * can.
 */
export const methods: Readonly<Record<string, Method>> = {
  predicted: (engine, one, effort) => predicted(engine, one, effort, 'predicted'),

  refined: (engine, one, effort) => predicted(engine, one, effort, 'refined'),

  /** Keeps the first 4 tokens and the last. */
  async truncate(engine, { prompt, continuations }, effort) {
    const share = wantedShare(engine, prompt.length, effort)
    const kept = keptTokens(engine, prompt.length, share)
    const ends = [...prompt.slice(0, 4), ...prompt.slice(4 - kept)]
    return { ...(await engine.workbench.logitsAfter({ prompt: ends, continuations })), share }
  },

  /** Keeps the first 4, the last 16, and others drawn at random. */
  async random(engine, { prompt, continuations }, effort) {
    const share = wantedShare(engine, prompt.length, effort)
    const next = createRandom(effort.seed)
    const kept = keptTokens(engine, prompt.length, share)
    const middle = prompt.slice(4, -16).map((_, index) => ({ index, key: next() }))
    const drawn = middle.sort((a, b) => a.key - b.key).slice(0, Math.max(0, kept - 20))
    const positions = drawn.map(({ index }) => index + 4).sort((a, b) => a - b)
    const sampled = [...prompt.slice(0, 4), ...positions.map((position) => at(prompt, position)), ...prompt.slice(-16)]
    return { ...(await engine.workbench.logitsAfter({ prompt: sampled, continuations })), share }
  },

  /**
   * Prunes as LazyLLM does: the first layers, two thirds of the share, see all tokens, and the
   * others see the most attended ones.
   */
  async attention(engine, { prompt, continuations }, effort) {
    const share = wantedShare(engine, prompt.length, effort)
    const { layers } = engine.archive.config
    const layer = Math.max(1, Math.round(share * layers * (2 / 3)))
    const above = (share * layers - layer) / (layers - layer)
    const keep = keptTokens(engine, prompt.length, above)
    return { ...(await engine.workbench.logitsPruned({ prompt, continuations }, { layer, keep })), share }
  },

  /** Runs the first layers alone. */
  async aux(engine, { prompt, continuations }, effort) {
    const { layers } = engine.archive.config
    const run = Math.max(1, Math.round(wantedShare(engine, prompt.length, effort) * layers))
    return { ...(await engine.workbench.logitsOfLayers({ prompt, continuations }, run)), share: run / layers }
  },
}

async function predicted(
  engine: Engine,
  { prompt, continuations }: Case,
  { share, refineRows }: Effort,
  prefill: 'predicted' | 'refined',
): Promise<MethodResult> {
  const window = share === undefined ? undefined : windowFor(engine, prompt.length, share)
  const how = { prefill, refineRows, ...(window !== undefined && { window }) }
  const judged = await engine.workbench.logitsAfter({ prompt, continuations }, how)
  return { ...judged, share: defined(engine.prediction).share(engine.archive.config, prompt.length, 0, window) }
}

function wantedShare(engine: Engine, length: number, { share }: Effort): number {
  return share ?? defined(engine.prediction).share(engine.archive.config, length, 0)
}

/** Returns the largest window within the share, and at least 16. */
function windowFor(engine: Engine, length: number, share: number): number {
  let window = 16
  while (window < length && defined(engine.prediction).share(engine.archive.config, length, 0, window + 1) <= share)
    window++
  return window
}

/**
 * Returns the number of tokens whose exact prefill takes a share of the whole work. It is larger
 * than that share of the tokens, since attention grows with the square.
 */
function keptTokens(engine: Engine, length: number, share: number): number {
  const { linear, square } = layerCost(engine.archive.config)
  const wanted = share * (linear * length + square * length * length)
  const kept = (Math.sqrt(linear * linear + 4 * square * wanted) - linear) / (2 * square)
  return Math.max(24, Math.min(length, Math.round(kept)))
}
