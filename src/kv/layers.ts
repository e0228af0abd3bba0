/** K and V of a prompt out of its pages, as plain matrices. */
import type { KvCodec, KvPool } from '../base/kv.ts'

export interface PromptCache {
  /** Behind the prompt, (vocab). */
  readonly logits: Float32Array
  readonly predicted: boolean
  /** Of each layer: K, after RoPE, and V, (kvHeads, tokens, headDim). */
  readonly layers: readonly { readonly k: Float32Array; readonly v: Float32Array }[]
}

/** Tokens of a group in the wire's f32 format (transfer/wire.ts). */
const group = 32

/** By the wire's f32, which every kind of page can be turned into. All layers have the pool's KV heads. */
export async function kvOfLayers(
  codec: KvCodec,
  pool: KvPool,
  pages: readonly number[],
  tokens: number,
): Promise<PromptCache['layers']> {
  const { layers, kvHeads, headDim } = pool
  const made: { k: Float32Array; v: Float32Array }[] = []
  for (let layer = 0; layer < layers; layer++) {
    const block = { layers: { from: layer, to: layer + 1 }, from: 0, to: tokens, pages }
    const bytes = await codec.encodeKv(pool, block, { codec: 'f32' })
    const values = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)
    const [k, v] = [new Float32Array(kvHeads * tokens * headDim), new Float32Array(kvHeads * tokens * headDim)]
    let at = 0
    for (let head = 0; head < kvHeads; head++) {
      const to = head * tokens * headDim
      for (let from = 0; from < tokens; from += group) {
        const n = Math.min(group, tokens - from)
        for (let d = 0; d < headDim; d++)
          for (let i = 0; i < n; i++) k[to + (from + i) * headDim + d] = values[at + d * n + i]!
        at += n * headDim
      }
      // V lies as it is wanted.
      v.set(values.subarray(at, at + tokens * headDim), to)
      at += tokens * headDim
    }
    made.push({ k, v })
  }
  return made
}
