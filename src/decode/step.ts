/** One decode step: one token for each of some sequences, in one pass. */

import type { Pass } from '../base/pass.ts'
import type { Sequence } from '../kv/paged.ts'
import type { Llama } from '../model/forward.ts'

/** Runs `ids[i]` behind `sequences[i]`; resolves with the logits after each, (sequences, vocab). */
export async function decodeStep(
  model: Llama,
  sequences: readonly Sequence[],
  ids: readonly number[],
): Promise<Float32Array> {
  const pass: Pass = {
    ids,
    segments: sequences.map((sequence, row) => sequence.extend(1, row)),
    outputs: ids.map((_, row) => row),
  }
  return model.forward(pass)
}
