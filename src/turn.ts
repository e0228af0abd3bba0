import { ForetokenError } from './errors.ts'

/**
 * Lets the host's event loop run once: so that signals, sockets and timers are served between two stretches of
 * compute. A timer of 0 would cost a millisecond a token in Node; `setImmediate` and `scheduler.yield` cost microseconds.
 */
interface Host {
  setImmediate?: (callback: () => void) => void
  scheduler?: { yield?: () => Promise<void> }
}

export async function nextTurn(signal?: AbortSignal): Promise<void> {
  const host = globalThis as unknown as Host
  if (host.setImmediate) await new Promise<void>((resolve) => host.setImmediate!(resolve))
  else if (host.scheduler?.yield) await host.scheduler.yield()
  else await new Promise<void>((resolve) => setTimeout(resolve, 0))
  throwIfAborted(signal)
}

export function throwIfAborted(signal?: AbortSignal): void {
  if (signal?.aborted) throw new ForetokenError('aborted', 'the request was cancelled', { cause: signal.reason })
}
