/** Defines the whole protocol between an engine and its text worker. Version 1. */
import type { ErrorCode } from '../base/errors.ts'
import type { TokenizerSpec } from '../base/model.ts'
import type { ChatMessage, PromptChunk } from '../base/prompt.ts'
import type { SpawnWorker, WorkerHandle } from '../base/serial-worker.ts'
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
      readonly options: PromptOptions & { readonly chunks?: 'auto' | undefined }
    }

/** Messages from the worker. */
export type FromTextWorker =
  | { readonly type: 'opened' }
  /**
   * `tokenizeMs`: milliseconds since the chat template was rendered, or since the message if there
   * is none.
   */
  | {
      readonly type: 'ids'
      readonly id: number
      readonly ids: Uint32Array
      /** Absent if no part of the prompt is marked. */
      readonly chunks?: readonly PromptChunk[]
      readonly tokenizeMs: number
    }
  | { readonly type: 'failed'; readonly id: number; readonly code: ErrorCode; readonly message: string }

/** A text worker as a platform provides it. */
export type TextWorker = WorkerHandle<ToTextWorker>

/** Starts a worker that runs `serveText`. */
export type SpawnText = SpawnWorker<ToTextWorker, FromTextWorker>
