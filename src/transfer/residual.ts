/**
 * The codec `residual` of transfer/wire.ts, which sends only what a prediction misses. Both ends
 * predict the prompt's K and V with the same predictor; the sender also computes the exact ones and
 * sends the differences, quantised and entropy-coded. Nothing that the receiver computes steers the
 * decoding. Predictions that differ in their last bits, as those of two machines do, change the
 * result by those bits only.
 *
 * The table holds the quantiser's steps, for each layer from `first layer` on, head by head:
 *
 *     D/2 bytes  for K, one for each pair of values that the position embedding rotates together
 *     1 byte     for V
 *
 * They follow 4 bytes: 0 if pair i is values i and i + D/2, 1 if it is 2i and 2i + 1; then 3 zeros.
 * A byte b stands for the step 2^((b - 128) / 8). 0 means that nothing is sent: the prediction
 * stays.
 *
 * A tile is one string of an adaptive binary range coder (wasm/core/src/ops/wire/range.rs): its
 * layers in order, in each layer K, then V, head by head, token by token, value by value. A value's
 * code c, the difference rounded to steps, is written as bits:
 *
 *     |c| > 0, and if so the sign (evenly), |c| > 1, |c| > 2, ...: up to 17 such bits, then
 *     Elias' gamma code of |c| - 16, evenly
 *
 * The first three bits have models for K and for V, in 16 contexts. A context depends on the sizes
 * of earlier codes: a = those of the same value at earlier tokens of the tile plus those of earlier
 * values, both running means in sixteenths (ops/wire/residual.rs has the numbers). All models start
 * anew with each tile. The receiver adds sign(c) (|c| - 0.06) step.
 */
import { at } from '../base/at.ts'
import { ForetokenError } from '../base/errors.ts'

/**
 * The quantiser's steps: for each head of each layer, one for each pair of values of K, and one for
 * V.
 */
export interface ResidualSteps {
  readonly pairs: 'half' | 'adjacent'
  /** (layers, kvHeads, headDim / 2 + 1); 0 for values that are not sent. */
  readonly steps: Float32Array
}

/**
 * Returns the table for the head of a stream. Each step times `scale` is rounded to an eighth of an
 * octave.
 */
export function encodeSteps({ pairs, steps }: ResidualSteps, scale = 1): Uint8Array {
  const table = new Uint8Array(4 + steps.length)
  table[0] = pairs === 'half' ? 0 : 1
  table.set(encodeStepBytes(steps.map((step) => step * scale)), 4)
  return table
}

/** Returns one byte for each step. */
export function encodeStepBytes(steps: Float32Array): Uint8Array {
  return Uint8Array.from(steps, (step) =>
    step > 0 ? Math.min(255, Math.max(1, Math.round(8 * Math.log2(step)) + 128)) : 0,
  )
}

export function decodeStepBytes(bytes: Uint8Array): Float32Array {
  return Float32Array.from(bytes, stepOf)
}

/**
 * Returns the step of each value, (layers, kvHeads, headDim + 1): those of K, then one for V.
 * Throws `bad_kv`.
 */
export function decodeSteps(
  table: Uint8Array,
  { layers, kvHeads, headDim }: { readonly layers: number; readonly kvHeads: number; readonly headDim: number },
): Float32Array {
  const half = headDim / 2
  const heads = layers * kvHeads
  const [pairs, ...zeros] = table.subarray(0, 4)
  const known = pairs === 0 || pairs === 1
  if (table.length !== 4 + heads * (half + 1) || !known || zeros.some((byte) => byte !== 0))
    throw new ForetokenError(
      'bad_kv',
      `the stream of K and V can't be used: its ${table.length} bytes are not a table of steps`,
    )
  const steps = new Float32Array(heads * (headDim + 1))
  for (let head = 0; head < heads; head++) {
    const from = 4 + head * (half + 1)
    const to = head * (headDim + 1)
    for (let pair = 0; pair < half; pair++) {
      const [a, b] = pairs === 0 ? [pair, pair + half] : [2 * pair, 2 * pair + 1]
      steps[to + a] = steps[to + b] = stepOf(at(table, from + pair))
    }
    steps[to + headDim] = stepOf(at(table, from + half))
  }
  return steps
}

/** Returns the steps of `layers`, from those of all layers from `first` on. */
export function stepsOf(
  steps: Float32Array,
  layers: { readonly from: number; readonly to: number },
  first: number,
  { kvHeads, headDim }: { readonly kvHeads: number; readonly headDim: number },
): Float32Array {
  const layer = kvHeads * (headDim + 1)
  return steps.subarray((layers.from - first) * layer, (layers.to - first) * layer)
}

function stepOf(byte: number): number {
  return byte === 0 ? 0 : 2 ** ((byte - 128) / 8)
}
