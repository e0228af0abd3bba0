/** Runs one decode step: one token for each of several sequences, in one pass. */

import type { Pass } from '../base/pass.ts'
import type { Sequence } from '../kv/sequence.ts'
import type { LoadedModel } from '../model/forward.ts'

/** Appends `ids[i]` to `sequences[i]` and returns the logits after each, (sequences, vocab). */
export async function decodeStep(
  model: LoadedModel,
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
