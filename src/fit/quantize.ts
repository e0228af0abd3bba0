/** Quantises a fitted map to the predictor's int8. */

import { halfToFloat } from '../base/half.ts'
import { tensorBlocks } from '../base/model.ts'
import type { LinearMap } from '../predict/file.ts'
import type { LinearFit } from './ridge.ts'

const block = tensorBlocks.q8_0.elements

/**
 * Rounds each weight to the nearest int8, with one binary16 scale for 32 weights; k is a multiple
 * of 32.
 */
export function quantized({ weight, bias }: LinearFit): LinearMap {
  const n = bias.length
  const k = weight.length / n
  const quants = new Int8Array(n * k)
  const scale = new Uint16Array((n * k) / block)
  for (let at = 0; at < weight.length; at += block) {
    const values = weight.subarray(at, at + block)
    const top = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
    const bits = halfAbove(top / 127)
    scale[at / block] = bits
    const step = halfToFloat(bits)
    if (step > 0)
      quants.set(
        values.map((value) => Math.round(value / step)),
        at,
      )
  }
  return { n, k, weight: quants, scale, bias: Float32Array.from(bias) }
}

/**
 * Returns the bits of the smallest binary16 that is at least `value`, so that no quotient exceeds
 * 127.
 */
function halfAbove(value: number): number {
  if (value === 0) return 0
  const exponent = Math.max(-14, Math.min(15, Math.floor(Math.log2(value))))
  const fraction = Math.ceil((value / 2 ** exponent) * 1024)
  // A subnormal has the exponent of the smallest normal and no leading one; carries go into the
  // exponent by themselves.
  return (((exponent + 14) << 10) + fraction) & 0x7fff
}
