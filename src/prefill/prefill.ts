/**
 * Defines the interface that turns prompts into KV caches and the logits of their first answer
 * tokens.
 */
import type { Sequence } from '../kv/sequence.ts'

export interface PrefillOptions {
  readonly signal?: AbortSignal | undefined
  /** Called after every pass, with the number of prompt tokens done and of all. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined
}

/** At least one token, to append to a sequence. */
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
