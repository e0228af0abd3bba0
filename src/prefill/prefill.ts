/** Turns prompts into KV caches and the logits of their first answer tokens. */
import type { Sequence } from '../kv/paged.ts'

export interface PrefillOptions {
  readonly signal?: AbortSignal | undefined
  /** Prompt tokens done, and in all; called after every pass. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined
}

/** Tokens, at least one, to go behind what a sequence holds. */
export interface Prompt {
  readonly sequence: Sequence
  readonly ids: readonly number[]
}

export interface Prefill {
  /** Kind of the cache afterwards. */
  readonly kind: 'exact'
  /**
   * Runs all prompts, many in a pass; resolves with the logits after the last token of each,
   * (vocab), in their order.
   */
  run(prompts: readonly Prompt[], options?: PrefillOptions): Promise<Float32Array[]>
}
