/** What a request's reader sees, in order: one `prompt`, a `token` for each token, one `done`. */
import type { Timings } from '../base/trace.ts'

export interface PromptEvent {
  readonly type: 'prompt'
  /** The prompt as the model sees it, chat template included. */
  readonly ids: readonly number[]
}

export interface ScoredToken {
  readonly id: number
  readonly logprob: number
}

export interface TokenEvent extends ScoredToken {
  readonly type: 'token'
  /** What may be shown now: whole UTF-8, nothing that could be the start of a stop string; may be empty. */
  readonly text: string
  readonly topLogprobs?: readonly ScoredToken[]
}

export interface DoneEvent {
  readonly type: 'done'
  /** `stop`: end of turn or a stop string; `length`: `maxTokens` reached; `context`: the context is full. */
  readonly finishReason: 'stop' | 'length' | 'context'
  readonly text: string
  readonly ids: readonly number[]
  readonly timings: Timings
  /** Prompt tokens whose keys and values came from the prefix cache. */
  readonly cached_tokens: number
  /** What the cache held when the first token was made; `refined` if it was predicted, and made exact since. */
  readonly prefill: 'exact' | 'predicted' | 'refined'
  /** The first token of the answer that was made from an exact cache, from 0; absent if none was. */
  readonly exact_from?: number
  /** Work before the first token by that of an exact prefill, by formula; 1 for exact. */
  readonly prefill_share: number
  readonly memory: { readonly wasm_bytes: number }
  readonly build: string
}

export type GenerateEvent = PromptEvent | TokenEvent | DoneEvent
