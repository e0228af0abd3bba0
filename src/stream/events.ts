/**
 * The events of an answer, in order: one `prompt`, a `token` for each token, one `done`. Among the
 * tokens of an answer that is verified, there may be one `correction`.
 */
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

/**
 * The tokens from `index` on, and their text, are void: exact K and V would not have given them. The
 * `token` events that follow replace them.
 */
export interface CorrectionEvent {
  readonly type: 'correction'
  /** Index in the answer of the first token that is replaced, and so the number of those that stay. */
  readonly index: number
  /** Length of the answer's text that stays, in UTF-16 units. */
  readonly offset: number
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
  /** Number of prompt tokens whose K and V are those of kept chunks, placed; absent if there are none. */
  readonly placed_tokens?: number
  /**
   * What the cache held when the first token was made; `refined` if it was predicted then and made
   * exact since.
   */
  readonly prefill: 'exact' | 'predicted' | 'refined'
  /** Index of the first answer token that was made from an exact cache; absent if there is none. */
  readonly exact_from?: number
  /**
   * Present if predicted K and V were to be made exact (`refined`, `auto`): true if every token of
   * the answer is one that exact K and V give, else the index of the first that is not; from there
   * on the answer was corrected if the request asked for it (`verify`). Greedy tokens are compared
   * with the best; those that are drawn stand by the rule of speculative sampling. Tokens that were
   * given (`after`) are not judged.
   */
  readonly verified?: true | number
  /** Work before the first token divided by that of an exact prefill, by a formula; 1 for exact. */
  readonly prefill_share: number
  readonly memory: { readonly wasm_bytes: number }
  readonly build: string
}

export type GenerateEvent = PromptEvent | TokenEvent | CorrectionEvent | DoneEvent
