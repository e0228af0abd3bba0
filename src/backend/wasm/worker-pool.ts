/**
 * Starts the compute workers of a threaded core: each gets its own stack and enters the core's
 * loop.
 */
import { ForetokenError } from '../../base/errors.ts'
import type { Core } from './select.ts'
import type { ComputeWorker, Spawn } from './threads.ts'

const stackBytes = 128 * 1024
/** Time without a finished unit of work after which a worker counts as lost. */
const lostAfterMs = 10_000

/**
 * Starts workers 1..threads-1 and waits until all are ready. Throws `worker_lost` if one cannot
 * start, after ending the others.
 */
export async function startWorkers(core: Core, threads: number, spawn: Spawn): Promise<ComputeWorker[]> {
  const { arena, module, kernels } = core
  kernels.pool_init?.(threads)
  kernels.pool_set_wait?.(mayBlock() ? 1 : 0, lostAfterMs)
  const workers: ComputeWorker[] = []
  try {
    for (let thread = 1; thread < threads; thread++) {
      const stackTop = arena.alloc(stackBytes, 'tables') + stackBytes
      workers.push(spawn({ module, memory: arena.memory, thread, stackTop }))
    }
    await Promise.all(workers.map((worker) => worker.ready))
    return workers
  } catch (cause) {
    await Promise.allSettled(workers.map((worker) => worker.terminate()))
    throw new ForetokenError('worker_lost', `${threads - 1} compute workers could not start; use 1 thread`, { cause })
  }
}

/** Returns true if this thread may block in wasm. A browser's main thread may not, and spins. */
function mayBlock(): boolean {
  try {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 0)
    return true
  } catch {
    return false
  }
}
