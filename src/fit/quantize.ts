/** A fitted map in the predictor's int8. */

import { tensorBlocks } from '../base/model.ts'
import { halfToFloat } from '../model/load.ts'
import type { LinearMap } from '../predict/file.ts'
import type { LinearFit } from './ridge.ts'

const block = tensorBlocks.q8_0.elements

/** int8 with one binary16 scale for 32 weights, each to the nearest; k is a multiple of 32. */
export function quantized({ weight, bias }: LinearFit): LinearMap {
  const n = bias.length
  const k = weight.length / n
  const quants = new Int8Array(n * k)
  const scale = new Uint16Array((n * k) / block)
  for (let at = 0; at < weight.length; at += block) {
    let top = 0
    for (let i = at; i < at + block; i++) top = Math.max(top, Math.abs(weight[i]!))
    const bits = halfAbove(top / 127)
    scale[at / block] = bits
    const step = halfToFloat(bits)
    for (let i = at; i < at + block && step > 0; i++) quants[i] = Math.round(weight[i]! / step)
  }
  return { n, k, weight: quants, scale, bias: Float32Array.from(bias) }
}

/** The smallest binary16 that is at least `value`: so that no quotient exceeds 127. */
function halfAbove(value: number): number {
  if (value === 0) return 0
  const exponent = Math.max(-14, Math.min(15, Math.floor(Math.log2(value))))
  const fraction = Math.ceil((value / 2 ** exponent) * 1024)
  // A subnormal has the exponent of the smallest normal, and no leading one; carries run over by themselves.
  return (((exponent + 14) << 10) + fraction) & 0x7fff
}
