/** A worker's own end of its messages, in Node and in a browser. */
export interface Port<From, To> {
  receive(listener: (message: From) => void): void
  send(message: To): void
}

export async function openPort<From, To>(): Promise<Port<From, To>> {
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
