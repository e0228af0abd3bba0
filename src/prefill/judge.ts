/** A prompt's predicted cache, judged by what the model then says of a given continuation. */
import type { Sequence } from '../kv/paged.ts'
import type { Llama } from '../model/llama.ts'
import { pack } from '../pack/pack.ts'
import type { Prediction } from './choice.ts'

export interface Judged {
  readonly prompt: readonly number[]
  readonly continuation: readonly number[]
  readonly prefill: 'exact' | 'predicted'
}

/** Logits of each token of the continuation, (continuation, vocab). A prompt that is too short to be predicted is exact. */
export async function logitsAfter(
  model: Pick<Llama, 'passTokens' | 'forward'>,
  choice: Prediction | undefined,
  sequence: Sequence,
  { prompt, continuation, prefill }: Judged,
): Promise<Float32Array> {
  choice?.begin(sequence, prompt.length, prefill)
  const last = prompt.length - 1
  for (let at = 0; at < last; at += model.passTokens) {
    const ids = prompt.slice(at, Math.min(last, at + model.passTokens))
    await model.forward(pack(choice?.runs(sequence, ids, 'none') ?? [{ sequence, ids, outputs: 'none' }]))
  }
  return model.forward(pack([{ sequence, ids: [prompt[last]!, ...continuation.slice(0, -1)], outputs: 'all' }]))
}

/**
 * The same from the first `layers` layers alone: their last state meets the vocabulary as if it were the model's. What an auxiliary
 * pass is worth without a predictor.
 */
export async function logitsOfLayers(
  model: Llama,
  sequence: Sequence,
  { prompt, continuation }: Omit<Judged, 'prefill'>,
  layers: number,
): Promise<Float32Array> {
  const all = [...prompt, ...continuation.slice(0, -1)]
  const last = prompt.length - 1
  let logits: Float32Array = new Float32Array(0)
  for (let at = 0; at < all.length; ) {
    const to = at < last ? Math.min(last, at + model.passTokens) : all.length
    const pass = pack([{ sequence, ids: all.slice(at, to), outputs: at < last ? 'none' : 'all' }])
    logits = await model.exclusive(() => {
      model.begin(pass)
      model.run(pass, { from: 0, to: layers })
      return model.logits(pass.outputs)
    })
    at = to
  }
  return logits
}
