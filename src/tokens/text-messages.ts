/** Defines the whole protocol between an engine and its text worker. Version 1. */
import type { ErrorCode } from '../base/errors.ts'
import type { TokenizerSpec } from '../base/model.ts'
import type { ChatMessage } from '../base/prompt.ts'
import type { PromptOptions } from './prompt.ts'

/**
 * Messages to the worker: `open` once, first; then prompts, each after the answer to the one
 * before.
 */
export type ToTextWorker =
  | { readonly type: 'open'; readonly spec: TokenizerSpec; readonly context: number }
  | {
      readonly type: 'read'
      readonly id: number
      readonly prompt: string | readonly ChatMessage[]
      readonly options: PromptOptions
    }

/** Messages from the worker. */
export type FromTextWorker =
  | { readonly type: 'opened' }
  /**
   * `tokenizeMs`: milliseconds since the chat template was rendered, or since the message if there
   * is none.
   */
  | { readonly type: 'ids'; readonly id: number; readonly ids: Uint32Array; readonly tokenizeMs: number }
  | { readonly type: 'failed'; readonly id: number; readonly code: ErrorCode; readonly message: string }

/** A worker as a platform provides it. */
export interface TextWorker {
  post(message: ToTextWorker): void
  /** Ends the worker at once, whatever it is doing. `ended` need not be called any more. */
  terminate(): void
}

/**
 * Starts a worker that runs `serveText`. Its messages go to `message`; if it ends by itself,
 * `ended` is called with the reason.
 */
export type SpawnText = (listeners: {
  readonly message: (message: FromTextWorker) => void
  readonly ended: (reason: string) => void
}) => TextWorker
