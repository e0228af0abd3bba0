import { ForetokenError } from './errors.ts'

/**
 * Lets the host's event loop run once: so that signals, sockets and timers are served between two stretches of
 * compute. A timer of 0 would cost a millisecond a token in Node, and four in a browser; `setImmediate` and a message to oneself cost
 * microseconds. What comes behind `scheduler.yield` would go before all that waits, a message to stop among it.
 */
interface Host {
  setImmediate?: (callback: () => void) => void
}

export async function nextTurn(signal?: AbortSignal): Promise<void> {
  const host = globalThis as unknown as Host
  if (host.setImmediate) await new Promise<void>((resolve) => host.setImmediate!(resolve))
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

export function throwIfAborted(signal?: AbortSignal): void {
  if (signal?.aborted) throw new ForetokenError('aborted', 'the request was cancelled', { cause: signal.reason })
}
