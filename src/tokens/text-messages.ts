/** The whole protocol between an engine and its text worker. Version 1. */
import type { ErrorCode } from '../base/errors.ts'
import type { TokenizerSpec } from '../base/model.ts'
import type { ChatMessage } from '../base/prompt.ts'
import type { PromptOptions } from './prompt.ts'

/** To the worker: `open` once, first; then one prompt after the other, each when the one before has been answered. */
export type ToTextWorker =
  | { readonly type: 'open'; readonly spec: TokenizerSpec; readonly context: number }
  | {
      readonly type: 'read'
      readonly id: number
      readonly prompt: string | readonly ChatMessage[]
      readonly options: PromptOptions
    }

/** From the worker. */
export type FromTextWorker =
  | { readonly type: 'opened' }
  /** `tokenizeMs`: since the chat template had made its text, or since the beginning. */
  | { readonly type: 'ids'; readonly id: number; readonly ids: Uint32Array; readonly tokenizeMs: number }
  | { readonly type: 'failed'; readonly id: number; readonly code: ErrorCode; readonly message: string }

/** A worker as a platform makes it. */
export interface TextWorker {
  post(message: ToTextWorker): void
  /** Ends it at once, whatever it does. `ended` need not be called any more. */
  terminate(): void
}

/** Starts a worker that runs `serveText`, and tells what comes of it: its messages, and why it ended by itself. */
export type SpawnText = (listeners: {
  readonly message: (message: FromTextWorker) => void
  readonly ended: (reason: string) => void
}) => TextWorker
