/** The whole protocol between a platform and its compute workers. Version 1. */
import type { WorkerTask } from '../src/backend/wasm/threads.ts'

/** To the worker, once, first. The worker never answers anything else: it enters the core's loop. */
export interface StartMessage {
  readonly type: 'start'
  readonly task: WorkerTask
}

/** From the worker. */
export type WorkerMessage = { readonly type: 'ready' } | { readonly type: 'failed'; readonly reason: string }
