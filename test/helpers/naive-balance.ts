/** Computes a Qwen 2 from its definition in f64, as the reference for keys with a bias. */

import type { ModelFiles } from '../../src/base/bytes.ts'
import { openModel } from '../../src/model/open.ts'

/** Returns logits after `ids`, (vocab), of a model whose tensors are f32. */
export async function float32(files: ModelFiles, ids: readonly number[]): Promise<Float64Array> {
  const { config, tensors } = await openModel(files)
  const { heads, kvHeads, headDim, layers, rmsEps, ropeTheta, vocab } = config
  const weights = new Map<string, { values: Float32Array; cols: number }>()
  for (const [name, { source, offset, bytes, cols }] of tensors) {
    const raw = new Uint8Array(bytes)
    await source.read(offset, raw)
    weights.set(name, { values: new Float32Array(raw.buffer), cols })
  }
  const dot = (a: ArrayLike<number>, b: ArrayLike<number>) =>
    Array.from(a).reduce((sum, value, i) => sum + value * b[i]!, 0)
  const rows = (name: string) => {
    const { values, cols } = weights.get(name)!
    return Array.from({ length: values.length / cols }, (_, row) => values.subarray(row * cols, (row + 1) * cols))
  }
  const times = (name: string, x: readonly number[], bias?: string) =>
    rows(name).map((row, i) => dot(row, x) + (bias ? weights.get(bias)!.values[i]! : 0))
  const norm = (name: string, x: readonly number[]) => {
    const size = Math.sqrt(dot(x, x) / x.length + rmsEps)
    return x.map((value, i) => (value / size) * weights.get(name)!.values[i]!)
  }
  const turned = (x: readonly number[], position: number) =>
    x.map((value, at) => {
      const [d, half] = [at % headDim, headDim / 2]
      const angle = position * ropeTheta ** ((-2 * (d % half)) / headDim)
      return d < half
        ? value * Math.cos(angle) - x[at + half]! * Math.sin(angle)
        : x[at - half]! * Math.sin(angle) + value * Math.cos(angle)
    })
  let x = ids.map((id) => [...rows('embed')[id]!])
  for (let layer = 0; layer < layers; layer++) {
    const at = (name: string) => `layers.${layer}.${name}`
    const normed = x.map((one) => norm(at('attnNorm'), one))
    const of = (name: string) => normed.map((one) => times(at(name), one, at(`${name}Bias`)))
    const [q, k, v] = [of('q').map(turned), of('k').map(turned), of('v')]
    x = x.map((one, t) => {
      const attended: number[] = []
      for (let head = 0; head < heads; head++) {
        const from = Math.floor((head * kvHeads) / heads) * headDim
        const query = q[t]!.slice(head * headDim, (head + 1) * headDim)
        const scores = k.slice(0, t + 1).map((key) => dot(query, key.slice(from, from + headDim)) / Math.sqrt(headDim))
        const top = Math.max(...scores)
        const parts = scores.map((score) => Math.exp(score - top))
        const all = parts.reduce((a, b) => a + b, 0)
        for (let d = 0; d < headDim; d++)
          attended.push(parts.reduce((sum, part, s) => sum + (part / all) * v[s]![from + d]!, 0))
      }
      const mid = times(at('o'), attended).map((value, i) => value + one[i]!)
      const inner = norm(at('ffnNorm'), mid)
      const up = times(at('up'), inner)
      const gated = times(at('gate'), inner).map((gate, i) => (gate / (1 + Math.exp(-gate))) * up[i]!)
      return times(at('down'), gated).map((value, i) => value + mid[i]!)
    })
  }
  const last = norm('norm', x.at(-1)!)
  return Float64Array.from({ length: vocab }, (_, id) => dot(rows('embed')[id]!, last))
}
