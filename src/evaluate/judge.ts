/**
 * Judges a prompt's cache, however it was made, by the logits that the model then gives along a
 * continuation.
 */

import { at } from '../base/at.ts'
import { joinFloats } from '../base/bytes.ts'
import type { Sequence } from '../kv/sequence.ts'
import type { LoadedModel } from '../model/forward.ts'
import { type Chunk, pack } from '../pack/pack.ts'
import type { Prediction } from '../predict/choice.ts'

export interface Judged {
  readonly prompt: readonly number[]
  /**
   * Each follows the prompt on its own. There is at least one, each with at least one token and at
   * most those of a pass.
   */
  readonly continuations: readonly (readonly number[])[]
}

/** How a prompt's K and V are computed. */
export interface JudgedPrefill {
  /** `refined` predicts them and makes them exact beside the tokens of the only continuation. */
  readonly prefill: 'exact' | 'predicted' | 'refined'
  /**
   * Number of exact tokens at the end of a predicted prompt. Default: as the predictor's plan says.
   */
  readonly window?: number
  /** For `refined`: number of tokens that are made exact beside each token of the continuation. */
  readonly refineRows?: number
}

export interface Judgement {
  /**
   * For each continuation, the logits after the prompt and after each of its tokens but the last,
   * (continuation, vocab).
   */
  readonly logits: readonly Float32Array[]
  /** Milliseconds until the logits of the prompt. */
  readonly ms: number
}

type Forward = Pick<LoadedModel, 'passTokens' | 'forward'>

/**
 * Returns the logits after a prompt and along its continuations. A prompt that is too short to be
 * predicted is exact.
 */
export async function logitsAfter(
  model: Forward,
  choice: Prediction | undefined,
  sequence: Sequence,
  { prompt, continuations }: Judged,
  { prefill, window, refineRows = 16 }: JudgedPrefill,
): Promise<Judgement> {
  const begun = performance.now()
  choice?.begin(sequence, prompt.length, prefill, window)
  let first: Float32Array = new Float32Array(0)
  for (const { ids, outputs } of chunksOf(prompt, model.passTokens))
    first = await model.forward(pack(choice?.chunks(sequence, ids, outputs) ?? [{ sequence, ids, outputs }]))
  const ms = performance.now() - begun
  if (prefill === 'refined' && sequence.states) {
    const rest = await refining(model, sequence, prompt, at(continuations, 0).slice(0, -1), refineRows)
    return { logits: [joinFloats([first, ...rest])], ms }
  }
  const logits = await continued(sequence, first, continuations, (ids) =>
    model.forward(pack([{ sequence, ids, outputs: 'all' }])),
  )
  return { logits, ms }
}

/** Returns the logits of each continuation of what `sequence` holds. */
export async function continued(
  sequence: Sequence,
  first: Float32Array,
  continuations: Judged['continuations'],
  run: (ids: readonly number[]) => Promise<Float32Array>,
): Promise<Float32Array[]> {
  const { length } = sequence
  const all: Float32Array[] = []
  for (const continuation of continuations) {
    const shown = continuation.slice(0, -1)
    all.push(shown.length === 0 ? first : joinFloats([first, await run(shown)]))
    sequence.truncate(length)
  }
  return all
}

/**
 * Runs the continuation token by token, and makes some rows of the cache exact beside each, as the
 * scheduler does.
 */
async function refining(
  model: Forward,
  sequence: Sequence,
  prompt: readonly number[],
  shown: readonly number[],
  rows: number,
): Promise<Float32Array[]> {
  const all = [...prompt, ...shown]
  const logits: Float32Array[] = []
  for (const id of shown) {
    const from = sequence.exact
    const step: Chunk = { sequence, ids: [id], outputs: 'last' }
    const count = sequence.states ? Math.min(rows, sequence.length - from) : 0
    const refined: Chunk = { sequence, ids: all.slice(from, from + count), outputs: 'none', kind: 'refined', from }
    logits.push(await model.forward(pack(count > 0 ? [refined, step] : [step])))
    // A step beside the last rows reads an exact cache, so it is exact itself.
    if (count > 0) sequence.markExact(from + count === sequence.length - 1 ? sequence.length : from + count)
  }
  return logits
}

/**
 * Returns the logits of the first `layers` layers alone, as if their last state were the model's.
 */
export async function logitsOfLayers(
  model: LoadedModel,
  sequence: Sequence,
  { prompt, continuations }: Judged,
  layers: number,
): Promise<Judgement> {
  const begun = performance.now()
  const run = (ids: readonly number[], outputs: Chunk['outputs']) => {
    const pass = pack([{ sequence, ids, outputs }])
    return model.exclusive(() => {
      model.begin(pass)
      model.run(pass, { from: 0, to: layers })
      return model.logits(pass.outputs)
    })
  }
  let first: Float32Array = new Float32Array(0)
  for (const { ids, outputs } of chunksOf(prompt, model.passTokens)) first = await run(ids, outputs)
  const ms = performance.now() - begun
  return { logits: await continued(sequence, first, continuations, (ids) => run(ids, 'all')), ms }
}

export function chunksOf(
  ids: readonly number[],
  size: number,
): { readonly ids: readonly number[]; readonly outputs: 'none' | 'last' }[] {
  return Array.from({ length: Math.ceil(ids.length / size) }, (_, index) => ({
    ids: ids.slice(index * size, (index + 1) * size),
    outputs: (index + 1) * size < ids.length ? 'none' : 'last',
  }))
}
