/** The events of an answer, in order: one `prompt`, a `token` for each token, one `done`. */
import type { Timings } from '../base/trace.ts'

export interface PromptEvent {
  readonly type: 'prompt'
  /** Ids of the prompt as the model sees it, with the chat template. */
  readonly ids: readonly number[]
}

export interface ScoredToken {
  readonly id: number
  readonly logprob: number
}

export interface TokenEvent extends ScoredToken {
  readonly type: 'token'
  /**
   * Text that may be shown now: whole UTF-8, and no possible beginning of a stop string. May be
   * empty.
   */
  readonly text: string
  readonly topLogprobs?: readonly ScoredToken[]
}

export interface DoneEvent {
  readonly type: 'done'
  /**
   * `stop`: end of turn or a stop string; `length`: `maxTokens` was reached; `context`: the context
   * is full.
   */
  readonly finishReason: 'stop' | 'length' | 'context'
  /** The stop string that ended the answer; absent if something else did. */
  readonly stop?: string
  readonly text: string
  readonly ids: readonly number[]
  readonly timings: Timings
  /** Number of prompt tokens whose K and V came from the prefix cache. */
  readonly cached_tokens: number
  /**
   * What the cache held when the first token was made; `refined` if it was predicted then and made
   * exact since.
   */
  readonly prefill: 'exact' | 'predicted' | 'refined'
  /** Index of the first answer token that was made from an exact cache; absent if there is none. */
  readonly exact_from?: number
  /** Work before the first token divided by that of an exact prefill, by a formula; 1 for exact. */
  readonly prefill_share: number
  readonly memory: { readonly wasm_bytes: number }
  readonly build: string
}

export type GenerateEvent = PromptEvent | TokenEvent | DoneEvent
