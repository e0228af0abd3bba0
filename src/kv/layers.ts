/** Extracts the K and V of a prompt from its pages as plain matrices. */
import { defined } from '../base/at.ts'
import type { KvPool } from '../base/kv.ts'
import type { KvCodec } from '../base/kv-codec.ts'

/** The result of reading a prompt: logits, K and V. */
export interface PromptCache {
  /** Logits after the prompt, (vocab). */
  readonly logits: Float32Array
  readonly predicted: boolean
  /** K (after RoPE) and V of each layer, each (kvHeads, tokens, headDim). */
  readonly layers: readonly { readonly k: Float32Array; readonly v: Float32Array }[]
}

/** Tokens of a group in the wire's f32 format (transfer/wire.ts). */
const group = 32

/**
 * Returns K and V of every layer, each (kvHeads, tokens, headDim). Uses the wire's f32 codec, which
 * reads every type of page. All layers must have the pool's number of KV heads.
 */
export async function kvOfLayers(
  codec: KvCodec,
  pool: KvPool,
  pages: readonly number[],
  tokens: number,
): Promise<PromptCache['layers']> {
  const { layers, kvHeads, headDim } = pool
  const matrices: { k: Float32Array; v: Float32Array }[] = []
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
          for (let i = 0; i < n; i++) k[to + (from + i) * headDim + d] = defined(values[at + d * n + i])
        at += n * headDim
      }
      // V already has the layout of the result.
      v.set(values.subarray(at, at + tokens * headDim), to)
      at += tokens * headDim
    }
    matrices.push({ k, v })
  }
  return matrices
}
