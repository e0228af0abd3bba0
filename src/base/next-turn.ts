import { throwIfAborted } from './cancelled.ts'

/**
 * Lets the host's event loop run once, so that signals, sockets and timers are served between two
 * stretches of compute. Rejects with `aborted` if `signal` has fired by then.
 *
 * A timer of 0 would cost a millisecond a token in Node and four in a browser; `setImmediate` and a
 * message to oneself cost microseconds. `scheduler.yield` continuations run before queued messages,
 * so a stop would wait.
 */
export async function nextTurn(signal?: AbortSignal): Promise<void> {
  if (typeof setImmediate === 'function') await new Promise<void>((resolve) => setImmediate(resolve))
  else if (typeof MessageChannel === 'function') await messageToOneself()
  else await new Promise<void>((resolve) => setTimeout(resolve, 0))
  throwIfAborted(signal)
}

function messageToOneself(): Promise<void> {
  const { port1, port2 } = new MessageChannel()
  return new Promise((resolve) => {
    port1.onmessage = () => {
      port1.close()
      resolve()
    }
    port2.postMessage(undefined)
  })
}
