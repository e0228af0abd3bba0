/**
 * A compute worker, in Node and in a browser. It instantiates the shared core and runs its loop
 * until it is terminated.
 */
import type { StartMessage, WorkerMessage } from './messages.ts'
import { openPort } from './port.ts'

const port = await openPort<StartMessage, WorkerMessage>()
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
