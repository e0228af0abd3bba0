/** Workers as Node worker threads: for compute, and for text. */
import { Worker } from 'node:worker_threads'
import type { ComputeWorker, Spawn, WorkerTask } from '../src/backend/wasm/threads.ts'
import type { SpawnText } from '../src/tokens/text-messages.ts'
import type { StartMessage, WorkerMessage } from './messages.ts'

/** Spawns workers that run `script`, the built or source form of `compute.ts`. */
export function nodeSpawn(script: URL): Spawn {
  return (task: WorkerTask): ComputeWorker => {
    const worker = new Worker(script)
    // An engine that nobody closed must not keep the process alive.
    worker.unref()
    let lost: string | undefined
    const ready = new Promise<void>((resolve, reject) => {
      const fail = (reason: string) => {
        lost ??= reason
        reject(new Error(reason))
      }
      worker.on('message', (message: WorkerMessage) => {
        if (message.type === 'ready') resolve()
        else fail(message.reason)
      })
      worker.on('error', (error) => fail(error.message))
      worker.on('exit', (code) => fail(`worker ${task.thread} exited with code ${code}`))
    })
    worker.postMessage({ type: 'start', task } satisfies StartMessage)
    return {
      ready,
      lost: () => lost,
      terminate: async () => {
        await worker.terminate()
      },
    }
  }
}

/**
 * What templates and tokenizing may take of memory, in MiB. Their budgets keep them far below it: a worker that needs more in one
 * allocation takes the whole process with it.
 */
const textHeapMb = 512

/** Spawns a text worker that runs `script`, the built or source form of `text.ts`. */
export function nodeText(script: URL): SpawnText {
  return ({ message, ended }) => {
    const worker = new Worker(script, { resourceLimits: { maxOldGenerationSizeMb: textHeapMb } })
    worker.unref()
    worker.on('message', message)
    worker.on('error', (error) => ended(error.message))
    worker.on('exit', (code) => ended(`it exited with code ${code}`))
    return {
      post: (request) => worker.postMessage(request),
      terminate: () => void worker.terminate(),
    }
  }
}
