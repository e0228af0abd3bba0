/** Types of compute threads that a backend asks its platform for. `workers/` implements them. */

/** The message with which a compute worker enters its loop. */
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
