/** Ways to have a first token early, each from the same prompt: what the exact model is compared with. */
import { createRandom } from '../../src/decode/random.ts'
import type { Engine } from '../../src/index.ts'
import type { Case } from './suites.ts'

/** Logits of each token of the continuation, (continuation, vocab), and the prefill's share of exact work by formula. */
export interface Judgement {
  readonly logits: Float32Array
  readonly share: number
}

export type Method = (engine: Engine, one: Case, share: number, seed: number) => Promise<Judgement>

/** All but the predicted one take about `share` of an exact prefill's work. */
export const methods: Readonly<Record<string, Method>> = {
  async predicted(engine, { prompt, continuation }) {
    const logits = await engine.workbench.logitsAfter(prompt, continuation, 'predicted')
    return { logits, share: engine.prediction!.share(engine.archive.config, prompt.length, 0) }
  },

  /** The first 4 tokens and the last. */
  async truncate(engine, { prompt, continuation }, share) {
    const kept = keptTokens(engine, prompt.length, share)
    const logits = await engine.workbench.logitsAfter([...prompt.slice(0, 4), ...prompt.slice(4 - kept)], continuation)
    return { logits, share }
  },

  /** The first 4, the last 16, and others drawn at random. */
  async random(engine, { prompt, continuation }, share, seed) {
    const next = createRandom(seed)
    const kept = keptTokens(engine, prompt.length, share)
    const middle = prompt.slice(4, -16).map((_, index) => ({ index, key: next() }))
    const drawn = middle.sort((a, b) => a.key - b.key).slice(0, Math.max(0, kept - 20))
    const ids = drawn.map(({ index }) => index + 4).sort((a, b) => a - b)
    const some = [...prompt.slice(0, 4), ...ids.map((at) => prompt[at]!), ...prompt.slice(-16)]
    return { logits: await engine.workbench.logitsAfter(some, continuation), share }
  },

  /** The first layers alone. */
  async aux(engine, { prompt, continuation }, share) {
    const { layers } = engine.archive.config
    const run = Math.max(1, Math.round(share * layers))
    return { logits: await engine.workbench.logitsOfLayers(prompt, continuation, run), share: run / layers }
  },
}

/** Tokens whose exact prefill takes a share of the whole one's work: attention grows with the square, so more than that share. */
function keptTokens(engine: Engine, length: number, share: number): number {
  const { hidden, intermediate, heads, kvHeads, headDim } = engine.archive.config
  const linear = hidden * 2 * (heads + kvHeads) * headDim + 3 * hidden * intermediate
  const square = heads * headDim
  const wanted = share * (linear * length + square * length * length)
  const kept = (Math.sqrt(linear * linear + 4 * square * wanted) - linear) / (2 * square)
  return Math.max(24, Math.min(length, Math.round(kept)))
}
