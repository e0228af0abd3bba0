/** Spawns compute, text and guide workers as Node worker threads. */
import { Worker } from 'node:worker_threads'
import type { ComputeWorker, Spawn, WorkerTask } from '../src/backend/wasm/threads.ts'
import type { SpawnWorker } from '../src/base/serial-worker.ts'
import type { SpawnGuides } from '../src/guide/worker-messages.ts'
import type { SpawnText } from '../src/tokens/text-messages.ts'
import type { StartMessage, WorkerMessage } from './messages.ts'

/**
 * Returns a function that spawns compute workers. `script` is the built or source form of
 * `compute.ts`.
 */
export function nodeSpawn(script: URL): Spawn {
  return (task: WorkerTask): ComputeWorker => {
    const worker = new Worker(script)
    // An engine that was not closed must not keep the process alive.
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
 * Heap limit of a text or guide worker, in MiB. The budgets of templates and tokenizing keep far below it,
 * since a worker that exceeds it in one allocation ends the whole process.
 */
const textHeapMb = 512

/**
 * Returns a function that spawns text workers. `script` is the built or source form of `text.ts`.
 */
export function nodeText(script: URL): SpawnText {
  return spawnOf(script)
}

/**
 * Returns a function that spawns guide workers. `script` is the built or source form of `guide.ts`.
 */
export function nodeGuides(script: URL): SpawnGuides {
  return spawnOf(script)
}

function spawnOf<To, From>(script: URL): SpawnWorker<To, From> {
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
