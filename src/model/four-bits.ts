/**
 * Quantises f32 rows to ggml's Q4_1: blocks of 32 weights d * q + m, with q in 0..15 and d, m in
 * binary16.
 */

import { defined } from '../base/at.ts'
import { floatToHalf, halfToFloat } from '../base/half.ts'
import { tensorBlocks } from '../base/model.ts'

const { elements, bytes: blockBytes } = tensorBlocks.q4_1

/** Fractions of the range between the extremes that are tried as the range of the 16 steps. */
const ranges = [1, 0.94, 0.88, 0.82, 0.76]

/**
 * Returns `values`, a whole number of blocks, as Q4_1. Each block gets the range with the least
 * squared error; for each candidate, d and m are fitted twice to the q that they give.
 */
export function quantizeQ4(values: Float32Array): Uint8Array {
  const blocks = values.length / elements
  const out = new Uint8Array(blocks * blockBytes)
  const view = new DataView(out.buffer)
  for (let block = 0; block < blocks; block++) {
    const row = values.subarray(block * elements, (block + 1) * elements)
    const { d, m } = bestScale(row)
    const [dBits, mBits] = [floatToHalf(d), floatToHalf(m)]
    const [step, least] = [halfToFloat(dBits), halfToFloat(mBits)]
    const at = block * blockBytes
    view.setUint16(at, dBits, true)
    view.setUint16(at + 2, mBits, true)
    for (let i = 0; i < 16; i++)
      out[at + 4 + i] = step4(defined(row[i]), step, least) | (step4(defined(row[i + 16]), step, least) << 4)
  }
  return out
}

function step4(value: number, d: number, m: number): number {
  return d > 0 ? Math.max(0, Math.min(15, Math.round((value - m) / d))) : 0
}

function bestScale(row: Float32Array): { d: number; m: number } {
  let low = Infinity
  let high = -Infinity
  for (const value of row) {
    low = Math.min(low, value)
    high = Math.max(high, value)
  }
  let best = { d: (high - low) / 15, m: low, error: Infinity }
  for (const range of ranges) {
    const cut = ((high - low) * (1 - range)) / 2
    let [d, m] = [((high - low) * range) / 15, low + cut]
    for (let round = 0; round < 3 && d > 0; round++) {
      const { error, ...fitted } = improved(row, d, m)
      if (error < best.error) best = { d, m, error }
      d = fitted.d
      m = fitted.m
    }
  }
  return best
}

/** Returns the squared error of d and m, and the d and m that best fit the q that they give. */
function improved(row: Float32Array, d: number, m: number): { d: number; m: number; error: number } {
  let [error, sumQ, sumQQ, sumX, sumQX] = [0, 0, 0, 0, 0]
  for (const x of row) {
    const q = step4(x, d, m)
    error += (d * q + m - x) ** 2
    sumQ += q
    sumQQ += q * q
    sumX += x
    sumQX += q * x
  }
  const spread = elements * sumQQ - sumQ * sumQ
  if (spread === 0) return { d: 0, m, error }
  const slope = (elements * sumQX - sumQ * sumX) / spread
  return { d: slope, m: (sumX - slope * sumQ) / elements, error }
}
