/** Ways to have a first token early, each from the same prompt: what the exact model is compared with. */
import { createRandom } from '../../src/decode/random.ts'
import type { Judgement } from '../../src/evaluate/judge.ts'
import type { Engine } from '../../src/index.ts'
import { layerCost } from '../../src/predict/cost.ts'
import type { Case } from './suites.ts'

export interface Told extends Judgement {
  /** The prefill's work by exact prefill's, by formula. */
  readonly share: number
}

export interface Effort {
  /** The work that is wanted, by exact prefill's; absent: what the predictor's own plan takes. */
  readonly share: number | undefined
  /** Tokens that `refined` makes exact beside each answer token. */
  readonly refineRows: number
  readonly seed: number
}

export type Method = (engine: Engine, one: Case, effort: Effort) => Promise<Told>

/** Each takes the wanted share of the work, or as near to it as it can come. */
export const methods: Readonly<Record<string, Method>> = {
  predicted: (engine, one, effort) => predicted(engine, one, effort, 'predicted'),

  refined: (engine, one, effort) => predicted(engine, one, effort, 'refined'),

  /** The first 4 tokens and the last. */
  async truncate(engine, { prompt, continuations }, effort) {
    const share = wantedShare(engine, prompt.length, effort)
    const kept = keptTokens(engine, prompt.length, share)
    const some = [...prompt.slice(0, 4), ...prompt.slice(4 - kept)]
    return { ...(await engine.workbench.logitsAfter({ prompt: some, continuations })), share }
  },

  /** The first 4, the last 16, and others drawn at random. */
  async random(engine, { prompt, continuations }, effort) {
    const share = wantedShare(engine, prompt.length, effort)
    const next = createRandom(effort.seed)
    const kept = keptTokens(engine, prompt.length, share)
    const middle = prompt.slice(4, -16).map((_, index) => ({ index, key: next() }))
    const drawn = middle.sort((a, b) => a.key - b.key).slice(0, Math.max(0, kept - 20))
    const ids = drawn.map(({ index }) => index + 4).sort((a, b) => a - b)
    const some = [...prompt.slice(0, 4), ...ids.map((at) => prompt[at]!), ...prompt.slice(-16)]
    return { ...(await engine.workbench.logitsAfter({ prompt: some, continuations })), share }
  },

  /** As LazyLLM: the first layers, two thirds of the share, see all tokens, and the others the most attended ones. */
  async attention(engine, { prompt, continuations }, effort) {
    const share = wantedShare(engine, prompt.length, effort)
    const { layers } = engine.archive.config
    const layer = Math.max(1, Math.round(share * layers * (2 / 3)))
    const above = (share * layers - layer) / (layers - layer)
    const keep = keptTokens(engine, prompt.length, above)
    return { ...(await engine.workbench.logitsPruned({ prompt, continuations }, { layer, keep })), share }
  },

  /** The first layers alone. */
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
): Promise<Told> {
  const window = share === undefined ? undefined : windowFor(engine, prompt.length, share)
  const how = { prefill, refineRows, ...(window !== undefined && { window }) }
  const judged = await engine.workbench.logitsAfter({ prompt, continuations }, how)
  return { ...judged, share: engine.prediction!.share(engine.archive.config, prompt.length, 0, window) }
}

function wantedShare(engine: Engine, length: number, { share }: Effort): number {
  return share ?? engine.prediction!.share(engine.archive.config, length, 0)
}

/** The largest window that keeps within the share, and 16 at least. */
function windowFor(engine: Engine, length: number, share: number): number {
  let window = 16
  while (window < length && engine.prediction!.share(engine.archive.config, length, 0, window + 1) <= share) window++
  return window
}

/** Tokens whose exact prefill takes a share of the whole one's work: attention grows with the square, so more than that share. */
function keptTokens(engine: Engine, length: number, share: number): number {
  const { linear, square } = layerCost(engine.archive.config)
  const wanted = share * (linear * length + square * length * length)
  const kept = (Math.sqrt(linear * linear + 4 * square * wanted) - linear) / (2 * square)
  return Math.max(24, Math.min(length, Math.round(kept)))
}
