/** How a backend asks its platform for compute threads. The platform's side is in `workers/`. */

/** What a compute worker needs to enter its loop. */
export interface WorkerTask {
  readonly module: WebAssembly.Module
  /** Shared. */
  readonly memory: WebAssembly.Memory
  /** 1.. ; the caller's thread is 0. */
  readonly thread: number
  /** Top of this worker's own stack in the memory; stacks grow down. */
  readonly stackTop: number
}

export interface ComputeWorker {
  /** Resolves when the worker is about to enter its loop; rejects if it can't start. */
  readonly ready: Promise<void>
  /** Set when the worker has died, with the reason. */
  readonly lost: () => string | undefined
  terminate(): Promise<void>
}

export type Spawn = (task: WorkerTask) => ComputeWorker
