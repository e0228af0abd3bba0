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
