/**
 * Spawns compute, text and guide workers as web workers. Compute needs a cross-origin isolated
 * page (COOP and COEP), which may share memory.
 */
import type { ComputeWorker, Spawn, WorkerTask } from '../src/backend/wasm/threads.ts'
import type { SpawnWorker } from '../src/base/serial-worker.ts'
import type { SpawnGuides } from '../src/guide/worker-messages.ts'
import type { SpawnText } from '../src/tokens/text-messages.ts'
import type { StartMessage, WorkerMessage } from './messages.ts'

/** Returns a function that spawns compute workers. `script` is the built form of `compute.ts`. */
export function webSpawn(script: URL): Spawn {
  return (task: WorkerTask): ComputeWorker => {
    const worker = new Worker(script, { type: 'module' })
    let lost: string | undefined
    const ready = new Promise<void>((resolve, reject) => {
      const fail = (reason: string) => {
        lost ??= reason
        reject(new Error(reason))
      }
      worker.addEventListener('message', (event: MessageEvent<WorkerMessage>) => {
        if (event.data.type === 'ready') resolve()
        else fail(event.data.reason)
      })
      worker.addEventListener('error', (event) => fail(event.message || `worker ${task.thread} failed`))
    })
    worker.postMessage({ type: 'start', task } satisfies StartMessage)
    return {
      ready,
      lost: () => lost,
      terminate: async () => worker.terminate(),
    }
  }
}

/** Returns a function that spawns text workers. `script` is the built form of `text.ts`. */
export function webText(script: URL): SpawnText {
  return spawnOf(script)
}

/** Returns a function that spawns guide workers. `script` is the built form of `guide.ts`. */
export function webGuides(script: URL): SpawnGuides {
  return spawnOf(script)
}

function spawnOf<To, From>(script: URL): SpawnWorker<To, From> {
  return ({ message, ended }) => {
    const worker = new Worker(script, { type: 'module' })
    worker.addEventListener('message', (event: MessageEvent<From>) => message(event.data))
    worker.addEventListener('error', (event) => ended(event.message || 'it failed'))
    return {
      post: (request) => worker.postMessage(request),
      terminate: () => worker.terminate(),
    }
  }
}
