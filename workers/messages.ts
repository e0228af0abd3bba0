/** The protocol between a platform and its compute workers, version 1. */
import type { WorkerTask } from '../src/backend/wasm/threads.ts'

/** The first and only message to the worker, which then runs the core's loop. */
export interface StartMessage {
  readonly type: 'start'
  readonly task: WorkerTask
}

/** The only message from the worker. */
export type WorkerMessage = { readonly type: 'ready' } | { readonly type: 'failed'; readonly reason: string }
