/** The worker's end of a message channel to the thread that spawned it. */
export interface Port<From, To> {
  /** Registers the listener for all messages. */
  receive(listener: (message: From) => void): void
  /** Buffers of `transfer` move to the other thread. */
  send(message: To, transfer?: readonly ArrayBuffer[]): void
}

/** Opens the port of this worker, in Node and in a browser. Rejects outside of workers. */
export async function openPort<From, To>(): Promise<Port<From, To>> {
  if ('WorkerGlobalScope' in globalThis)
    return {
      receive: (listener) =>
        globalThis.addEventListener('message', (event: MessageEvent<From>) => listener(event.data)),
      send: (message, transfer = []) => globalThis.postMessage(message, { transfer: [...transfer] }),
    }
  const { parentPort } = await import('node:worker_threads')
  if (!parentPort) throw new Error('this script must run in a worker')
  return {
    receive: (listener) => parentPort.on('message', listener),
    send: (message, transfer = []) => parentPort.postMessage(message, [...transfer]),
  }
}

/**
 * Lets all other threads go before this one, where a thread has a priority of its own: in Node on
 * Linux. Elsewhere the call would change the whole process.
 */
export async function goLast(): Promise<void> {
  const { process } = globalThis as { readonly process?: { readonly platform?: string } }
  if ('WorkerGlobalScope' in globalThis || process?.platform !== 'linux') return
  const { setPriority } = await import('node:os')
  try {
    setPriority(10)
  } catch {
    // A sandbox may forbid it.
  }
}
