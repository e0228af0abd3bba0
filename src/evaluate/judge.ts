/** A prompt's cache, made one way or another, judged by what the model then says of a given continuation. */
import { joinFloats } from '../base/bytes.ts'
import type { Sequence } from '../kv/paged.ts'
import type { Llama } from '../model/forward.ts'
import { pack, type Run } from '../pack/pack.ts'
import type { Prediction } from '../predict/choice.ts'

export interface Judged {
  readonly prompt: readonly number[]
  /** Each on its own behind the prompt; at least one, of at least one token, and of at most a pass. */
  readonly continuations: readonly (readonly number[])[]
}

/** How a prompt's K and V come about. */
export interface JudgedPrefill {
  /** `refined`: predicted, and made exact beside the tokens of the first continuation, the only one then. */
  readonly prefill: 'exact' | 'predicted' | 'refined'
  /** Exact tokens at the end of a predicted prompt; default: as the predictor's plan says. */
  readonly window?: number
  /** Of `refined`: tokens made exact beside one token of the continuation. */
  readonly refineRows?: number
}

export interface Judgement {
  /** For each continuation: after the prompt, and after each of its tokens but the last, (continuation, vocab). */
  readonly logits: readonly Float32Array[]
  /** Milliseconds until the prompt's. */
  readonly ms: number
}

type Forward = Pick<Llama, 'passTokens' | 'forward'>

/** A prompt that is too short to be predicted is exact. */
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
    first = await model.forward(pack(choice?.runs(sequence, ids, outputs) ?? [{ sequence, ids, outputs }]))
  const ms = performance.now() - begun
  if (prefill === 'refined' && sequence.states) {
    const rest = await refining(model, sequence, prompt, continuations[0]!.slice(0, -1), refineRows)
    return { logits: [joinFloats([first, ...rest])], ms }
  }
  const logits = await continued(sequence, first, continuations, (ids) =>
    model.forward(pack([{ sequence, ids, outputs: 'all' }])),
  )
  return { logits, ms }
}

/** Logits of each continuation behind what `sequence` holds. */
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

/** The continuation token by token, with a stretch of the cache made exact beside each, as the scheduler does it. */
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
    const step: Run = { sequence, ids: [id], outputs: 'last' }
    const count = sequence.states ? Math.min(rows, sequence.length - from) : 0
    const again: Run = { sequence, ids: all.slice(from, from + count), outputs: 'none', kind: 'refined', from }
    logits.push(await model.forward(pack(count > 0 ? [again, step] : [step])))
    // A step beside the last stretch reads an exact cache, and is exact itself.
    if (count > 0) sequence.settle(from + count === sequence.length - 1 ? sequence.length : from + count)
  }
  return logits
}

/** What the first `layers` layers say alone: their last state meets the vocabulary as if it were the model's. */
export async function logitsOfLayers(
  model: Llama,
  sequence: Sequence,
  { prompt, continuations }: Judged,
  layers: number,
): Promise<Judgement> {
  const begun = performance.now()
  const run = (ids: readonly number[], outputs: Run['outputs']) => {
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
