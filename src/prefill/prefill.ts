/** How a prompt becomes a KV cache and the logits of its first answer token. */
import type { Sequence } from '../kv/paged.ts'

export interface PrefillOptions {
  readonly signal?: AbortSignal | undefined
  /** Prompt tokens done, and in all; called after every chunk. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined
}

export interface Prefill {
  /** What the cache holds afterwards. */
  readonly kind: 'exact'
  /** Puts `ids` (at least one) behind what `sequence` holds; resolves with the logits after the last, (vocab). */
  run(sequence: Sequence, ids: readonly number[], options?: PrefillOptions): Promise<Float32Array>
}
