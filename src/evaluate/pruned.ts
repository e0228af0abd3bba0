/**
 * Token pruning by attention, a baseline (after LazyLLM, arXiv 2407.14057, with one pruning layer and nothing brought back): layers from
 * some layer on see a part of the prompt alone, its tokens at their own positions.
 */

import type { Backend } from '../backend/backend.ts'
import { joinFloats } from '../base/bytes.ts'
import type { ModelConfig } from '../base/model.ts'
import type { Pass, Segment } from '../base/pass.ts'
import type { Sequence } from '../kv/paged.ts'
import type { Llama } from '../model/forward.ts'
import { pack, type Run } from '../pack/pack.ts'
import { chunksOf, continued, type Judged, type Judgement } from './judge.ts'

export interface Pruning {
  /** All tokens run through the layers below. */
  readonly layer: number
  /** Of the prompt's tokens, how many run on: those that its last one attends to most in that layer, and itself. */
  readonly keep: number
}

interface Engine {
  readonly model: Llama
  readonly backend: Backend
}

/** `below` caches all tokens for the layers under the pruning, `above` the kept ones for the others. */
export async function logitsPruned(
  engine: Engine,
  { below, above }: { readonly below: Sequence; readonly above: Sequence },
  { prompt, continuations }: Judged,
  { layer, keep }: Pruning,
): Promise<Judgement> {
  const begun = performance.now()
  const { model } = engine
  const parts: Low[] = []
  for (const { ids } of chunksOf(prompt, model.passTokens)) parts.push(await runLow(engine, below, ids, layer))
  const states = joinFloats(parts.map(({ states }) => states))
  const keys = joinFloats(parts.map(({ keys }) => keys))
  const kept = mostAttended(model.config, parts.at(-1)!.query, keys, keep)
  let first: Float32Array = new Float32Array(0)
  for (const { ids: positions } of chunksOf(kept, model.passTokens))
    first = await runHigh(engine, above, { prompt, positions, outputs: 'last' }, states, layer)
  const ms = performance.now() - begun
  const logits = await continued(above, first, continuations, async (shown) => {
    const low = await runLow(engine, below, shown, layer)
    below.truncate(prompt.length)
    const positions = shown.map((_, index) => prompt.length + index)
    const all = joinFloats([states, low.states])
    return runHigh(engine, above, { prompt: [...prompt, ...shown], positions, outputs: 'all' }, all, layer)
  })
  return { logits, ms }
}

interface Low {
  /** (ids.length, hidden) */
  readonly states: Float32Array
  /** (ids.length, kvHeads * headDim), after RoPE. */
  readonly keys: Float32Array
  /** Of the last token, (heads * headDim), after RoPE. */
  readonly query: Float32Array
}

async function runLow(
  { model, backend }: Engine,
  sequence: Sequence,
  ids: readonly number[],
  layer: number,
): Promise<Low> {
  const pass = pack([{ sequence, ids, outputs: 'none' }])
  return model.exclusive(async () => {
    model.begin(pass)
    model.run(pass, { from: 0, to: layer })
    const states = await backend.read(model.states, ids.length)
    const { q, k } = model.queriesAndKeys(pass, layer)
    const [queries, keys] = [await backend.read(q, ids.length), await backend.read(k, ids.length)]
    return { states, keys, query: queries.slice(queries.length - queries.length / ids.length) }
  })
}

/** Logits of tokens at some positions, which have run through the layers below. */
async function runHigh(
  { model, backend }: Engine,
  sequence: Sequence,
  { prompt, positions, outputs }: { prompt: readonly number[]; positions: readonly number[]; outputs: Run['outputs'] },
  states: Float32Array,
  layer: number,
): Promise<Float32Array> {
  const { hidden, layers } = model.config
  const pass = atPositions(pack([{ sequence, ids: positions.map((at) => prompt[at]!), outputs }]), positions)
  return model.exclusive(() => {
    model.begin(pass)
    for (const [row, at] of positions.entries())
      backend.write(model.states, row, states.subarray(at * hidden, (at + 1) * hidden))
    model.run(pass, { from: layer, to: layers })
    return model.logits(pass.outputs)
  })
}

/** One sequence's pass with its tokens at the given positions: neighbours share a segment. */
function atPositions(pass: Pass, positions: readonly number[]): Pass {
  const whole = pass.segments[0]!
  const segments: Segment[] = []
  for (let from = 0, to = 1; from < positions.length; from = to++) {
    while (to < positions.length && positions[to] === positions[to - 1]! + 1) to++
    segments.push({ ...whole, start: from, length: to - from, past: whole.past + from, position: positions[from]! })
  }
  return { ...pass, segments }
}

/** Positions whose keys the query attends to most, over all heads, and the last; in order. */
function mostAttended(
  { heads, kvHeads, headDim }: ModelConfig,
  query: Float32Array,
  keys: Float32Array,
  keep: number,
): number[] {
  const width = kvHeads * headDim
  const count = keys.length / width
  const shares = new Float64Array(count)
  for (let head = 0; head < heads; head++) {
    const own = Math.floor((head * kvHeads) / heads) * headDim
    const scores = Float64Array.from({ length: count }, (_, at) => {
      let sum = 0
      for (let i = 0; i < headDim; i++) sum += query[head * headDim + i]! * keys[at * width + own + i]!
      return sum / Math.sqrt(headDim)
    })
    const top = scores.reduce((a, b) => Math.max(a, b), -Infinity)
    const total = scores.reduce((sum, score) => sum + Math.exp(score - top), 0)
    for (let at = 0; at < count; at++) shares[at]! += Math.exp(scores[at]! - top) / total
  }
  shares[count - 1] = Infinity
  const order = Array.from(shares.keys()).sort((a, b) => shares[b]! - shares[a]!)
  return order.slice(0, keep).sort((a, b) => a - b)
}
