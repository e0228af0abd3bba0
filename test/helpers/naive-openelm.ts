/**
 * Computes OpenELM in f64 and plain loops from the file's tensors; it uses nothing of the loader or
 * the forward pass.
 */
import type { TinyOpenElm } from './tiny-openelm.ts'

type Vector = number[]

/** Returns logits after the last of `ids`, (vocab). */
export function naiveOpenElm({ shape, tensors }: TinyOpenElm, ids: readonly number[]): Vector {
  const { hidden, headDim, heads, kvHeads, widths, normed, tied } = shape
  const row = (name: string, index: number): Vector => {
    const { data, shape: size } = tensors.get(`${name}.weight`)!
    const cols = size.at(-1)!
    return [...data.subarray(index * cols, (index + 1) * cols)]
  }
  /** Computes outputs `from`..`from + count` - 1. */
  const product = (name: string, from: number, count: number, x: Vector): Vector =>
    Array.from({ length: count }, (_, i) => dot(row(name, from + i), x))
  const norm = (name: string, x: Vector): Vector => {
    const size = Math.sqrt(dot(x, x) / x.length + 1e-6)
    return row(name, 0).map((weight, i) => (x[i]! / size) * weight)
  }
  const stream = ids.map((id) => row('transformer.token_embeddings', id))
  heads.forEach((queries, layer) => {
    const at = `transformer.layers.${layer}`
    const group = queries / kvHeads[layer]!
    /** Returns head `index` of all heads of qkv_proj, at position t. */
    const head = (index: number, x: Vector) => product(`${at}.attn.qkv_proj`, index * headDim, headDim, x)
    const turned = (index: number, x: Vector, t: number, name: string) => {
      const one = head(index, x)
      return rotated(normed ? norm(`${at}.attn.${name}`, one) : one, t)
    }
    const inputs = stream.map((x) => norm(`${at}.attn_norm`, x))
    const each = Array.from({ length: kvHeads[layer]! }, (_, kv) => kv)
    const keys = each.map((kv) => inputs.map((x, t) => turned(queries + kv, x, t, 'k_norm')))
    const values = each.map((kv) => inputs.map((x) => head(queries + kvHeads[layer]! + kv, x)))
    inputs.forEach((x, t) => {
      const attended: Vector = []
      for (let index = 0; index < queries; index++) {
        const kv = Math.floor(index / group)
        const query = turned(index, x, t, 'q_norm')
        const scores = keys[kv]!.slice(0, t + 1).map((key) => Math.exp(dot(query, key) / Math.sqrt(headDim)))
        const total = scores.reduce((sum, score) => sum + score, 0)
        for (let d = 0; d < headDim; d++)
          attended.push(scores.reduce((sum, score, s) => sum + (score / total) * values[kv]![s]![d]!, 0))
      }
      const mid = sum(stream[t]!, product(`${at}.attn.out_proj`, 0, hidden, attended))
      const input = norm(`${at}.ffn_norm`, mid)
      const width = widths[layer]!
      const gate = product(`${at}.ffn.proj_1`, 0, width, input)
      const up = product(`${at}.ffn.proj_1`, width, width, input)
      const inner = gate.map((g, i) => (g / (1 + Math.exp(-g))) * up[i]!)
      stream[t] = sum(mid, product(`${at}.ffn.proj_2`, 0, hidden, inner))
    })
  })
  const head = tied ? 'transformer.token_embeddings' : 'lm_head'
  const vocab = tensors.get(`${head}.weight`)!.shape[0]!
  return product(head, 0, vocab, norm('transformer.norm', stream.at(-1)!))
}

/** Rotates component i with component i + half, by position / 10000^(i / half). */
function rotated(x: Vector, position: number): Vector {
  const half = x.length / 2
  return x.map((value, i) => {
    const angle = position / 10_000 ** ((i % half) / half)
    return i < half
      ? value * Math.cos(angle) - x[i + half]! * Math.sin(angle)
      : value * Math.cos(angle) + x[i - half]! * Math.sin(angle)
  })
}

function dot(a: Vector, b: Vector): number {
  return a.reduce((total, value, i) => total + value * b[i]!, 0)
}

function sum(a: Vector, b: Vector): Vector {
  return a.map((value, i) => value + b[i]!)
}
