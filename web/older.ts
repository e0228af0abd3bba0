/**
 * Polyfills for the oldest supported browsers (docs/browser.md names them). Must be imported first.
 */

AbortSignal.any ??= (signals: Iterable<AbortSignal>): AbortSignal => {
  const control = new AbortController()
  const all = [...signals]
  const listeners = all.map((signal) => ({ signal, listener: () => end(signal.reason) }))
  const end = (reason: unknown) => {
    for (const { signal, listener } of listeners) signal.removeEventListener('abort', listener)
    control.abort(reason)
  }
  const aborted = all.find((signal) => signal.aborted)
  if (aborted) control.abort(aborted.reason)
  else for (const { signal, listener } of listeners) signal.addEventListener('abort', listener)
  return control.signal
}

export {}
