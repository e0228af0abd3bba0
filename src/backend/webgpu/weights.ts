/**
 * Weights (n, k) as the shaders read them: blocks of 32 k, and in each block all outputs beside
 * each other, so that neighbouring threads read neighbouring memory. k is filled up to whole blocks
 * with zeros.
 *
 * | kind | of a block and output | numbers |
 * |---|---|---|
 * | `u4`  | 4 words of 8 nibbles, the first lowest; then, behind all of them, a word of f16 d, m | d * q + m |
 * | `i8`  | 8 words of 4 int8; then, behind all, two words of f16 d, m: one for each 16 | d * q + m |
 * | `f16`, `bf16` | 16 words of 2 | as they are |
 * | `f32` | 32 words | as they are |
 *
 * A weight that is larger than the device binds is cut by outputs.
 */

import type { TensorType } from '../../base/model.ts'
import type { Weight } from '../backend.ts'

/** How a weight lies in memory. */
export type Kind = 'u4' | 'i8' | 'f16' | 'bf16' | 'f32'

/** Some outputs of a weight in a buffer of their own. */
export interface Part {
  readonly buffer: GPUBuffer
  readonly from: number
  readonly n: number
}

/** A weight on the device, cut into parts. */
export interface GpuWeight extends Weight {
  readonly kind: Kind
  readonly blocks: number
  readonly parts: readonly Part[]
}

/** Words of 32 k of an output: of the numbers, and of their scales. */
export const wordsOf: Readonly<Record<Kind, { readonly numbers: number; readonly scales: number }>> = {
  u4: { numbers: 4, scales: 1 },
  i8: { numbers: 8, scales: 2 },
  f16: { numbers: 16, scales: 0 },
  bf16: { numbers: 16, scales: 0 },
  f32: { numbers: 32, scales: 0 },
}

const fourBits: ReadonlySet<TensorType> = new Set(['q4_0', 'q4_1', 'q4_k', 'q1_0', 'q2_0', 'tq1_0', 'tq2_0'])

/** Returns how a tensor of a file's type lies in memory. */
export function kindOf(type: TensorType): Kind {
  if (type === 'f32' || type === 'f16' || type === 'bf16') return type
  return fourBits.has(type) ? 'u4' : 'i8'
}
