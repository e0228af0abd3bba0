/**
 * Prunes tokens by attention, as a baseline (after LazyLLM, arXiv 2407.14057, with one pruning
 * layer and no tokens brought back). From some layer on, the layers see only a part of the prompt,
 * its tokens at their own positions.
 */

import type { Backend } from '../backend/backend.ts'
import { at, defined } from '../base/at.ts'
import { joinFloats } from '../base/bytes.ts'
import type { ModelConfig } from '../base/model.ts'
import type { Pass, Segment } from '../base/pass.ts'
import type { Sequence } from '../kv/sequence.ts'
import type { LoadedModel } from '../model/forward.ts'
import { type Chunk, pack } from '../pack/pack.ts'
import { chunksOf, continued, type Judged, type Judgement } from './judge.ts'

export interface Pruning {
  /** All tokens run through the layers below this one. */
  readonly layer: number
  /**
   * Number of the prompt's tokens that run on: those that its last token attends to most in that
   * layer, and the last token itself.
   */
  readonly keep: number
}

interface PrunedEngine {
  readonly model: LoadedModel
  readonly backend: Backend
}

/**
 * Returns the logits of a pruned prompt. `below` caches all tokens for the layers under the
 * pruning, `above` the kept ones for the other layers.
 */
export async function logitsPruned(
  engine: PrunedEngine,
  { below, above }: { readonly below: Sequence; readonly above: Sequence },
  { prompt, continuations }: Judged,
  { layer, keep }: Pruning,
): Promise<Judgement> {
  const begun = performance.now()
  const { model } = engine
  const parts: LowerOutput[] = []
  for (const { ids } of chunksOf(prompt, model.passTokens)) parts.push(await runLower(engine, below, ids, layer))
  const states = joinFloats(parts.map(({ states }) => states))
  const keys = joinFloats(parts.map(({ keys }) => keys))
  const kept = mostAttended(model.config, defined(parts.at(-1)).query, keys, keep)
  let first: Float32Array = new Float32Array(0)
  for (const { ids: positions } of chunksOf(kept, model.passTokens))
    first = await runUpper(engine, above, { prompt, positions, outputs: 'last' }, states, layer)
  const ms = performance.now() - begun
  const logits = await continued(above, first, continuations, async (shown) => {
    const lower = await runLower(engine, below, shown, layer)
    below.truncate(prompt.length)
    const positions = shown.map((_, index) => prompt.length + index)
    const all = joinFloats([states, lower.states])
    return runUpper(engine, above, { prompt: [...prompt, ...shown], positions, outputs: 'all' }, all, layer)
  })
  return { logits, ms }
}

interface LowerOutput {
  /** (ids.length, hidden) */
  readonly states: Float32Array
  /** (ids.length, kvHeads * headDim), after RoPE. */
  readonly keys: Float32Array
  /** The query of the last token, (heads * headDim), after RoPE. */
  readonly query: Float32Array
}

/** Runs tokens through the layers below `layer`, and computes its queries and keys. */
async function runLower(
  { model, backend }: PrunedEngine,
  sequence: Sequence,
  ids: readonly number[],
  layer: number,
): Promise<LowerOutput> {
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

/** Returns the logits of the tokens at `positions`, which have run through the lower layers. */
async function runUpper(
  { model, backend }: PrunedEngine,
  sequence: Sequence,
  {
    prompt,
    positions,
    outputs,
  }: { prompt: readonly number[]; positions: readonly number[]; outputs: Chunk['outputs'] },
  states: Float32Array,
  layer: number,
): Promise<Float32Array> {
  const { hidden, layers } = model.config
  const ids = positions.map((position) => at(prompt, position))
  const pass = atPositions(pack([{ sequence, ids, outputs }]), positions)
  return model.exclusive(() => {
    model.begin(pass)
    for (const [row, position] of positions.entries())
      backend.write(model.states, row, states.subarray(position * hidden, (position + 1) * hidden))
    model.run(pass, { from: layer, to: layers })
    return model.logits(pass.outputs)
  })
}

/**
 * Returns the pass of one sequence with its tokens at the given positions. Neighbours share a
 * segment.
 */
function atPositions(pass: Pass, positions: readonly number[]): Pass {
  const whole = at(pass.segments, 0)
  const segments: Segment[] = []
  for (let from = 0, to = 1; from < positions.length; from = to++) {
    while (to < positions.length && positions[to] === at(positions, to - 1) + 1) to++
    const position = at(positions, from)
    segments.push({ ...whole, start: from, length: to - from, past: whole.past + from, position })
  }
  return { ...pass, segments }
}

/**
 * Returns the positions whose keys the query attends to most, over all heads, and the last
 * position, in ascending order.
 */
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
    const column = Math.floor((head * kvHeads) / heads) * headDim
    const scores = Float64Array.from({ length: count }, (_, position) => {
      let sum = 0
      for (let i = 0; i < headDim; i++)
        sum += defined(query[head * headDim + i]) * defined(keys[position * width + column + i])
      return sum / Math.sqrt(headDim)
    })
    const top = scores.reduce((a, b) => Math.max(a, b), -Infinity)
    const total = scores.reduce((sum, score) => sum + Math.exp(score - top), 0)
    for (const [position, score] of scores.entries())
      shares[position] = at(shares, position) + Math.exp(score - top) / total
  }
  shares[count - 1] = Infinity
  const ranked = Array.from(shares.entries()).sort(([, a], [, b]) => b - a)
  return ranked
    .slice(0, keep)
    .map(([position]) => position)
    .sort((a, b) => a - b)
}
