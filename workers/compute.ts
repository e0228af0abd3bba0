/** A compute worker, in Node and in a browser: instantiates the shared core and enters its loop until it is ended. */
import type { StartMessage, WorkerMessage } from './messages.ts'

interface Port {
  receive(listener: (message: StartMessage) => void): void
  send(message: WorkerMessage): void
}

const port = await openPort()
port.receive(({ task }) => {
  try {
    const instance = new WebAssembly.Instance(task.module, { env: { memory: task.memory } })
    const exports = instance.exports as {
      __stack_pointer: WebAssembly.Global
      worker_main(thread: number): void
    }
    exports.__stack_pointer.value = task.stackTop
    port.send({ type: 'ready' })
    exports.worker_main(task.thread)
  } catch (error) {
    port.send({ type: 'failed', reason: String(error) })
  }
})

async function openPort(): Promise<Port> {
  const web = globalThis as unknown as {
    WorkerGlobalScope?: unknown
    addEventListener(type: 'message', listener: (event: MessageEvent) => void): void
    postMessage(message: unknown): void
  }
  if (web.WorkerGlobalScope)
    return {
      receive: (listener) => web.addEventListener('message', (event) => listener(event.data)),
      send: (message) => web.postMessage(message),
    }
  const { parentPort } = await import('node:worker_threads')
  return {
    receive: (listener) => parentPort!.on('message', listener),
    send: (message) => parentPort!.postMessage(message),
  }
}
