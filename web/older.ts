/**
 * Polyfills for the oldest supported browsers (docs/browser.md names them). Must be imported first.
 */

AbortSignal.any ??= (signals: Iterable<AbortSignal>): AbortSignal => {
  const control = new AbortController()
  const all = [...signals]
  const heard = all.map((signal) => () => end(signal.reason))
  const end = (reason: unknown) => {
    all.forEach((signal, at) => {
      signal.removeEventListener('abort', heard[at]!)
    })
    control.abort(reason)
  }
  const aborted = all.find((signal) => signal.aborted)
  if (aborted) control.abort(aborted.reason)
  else
    all.forEach((signal, at) => {
      signal.addEventListener('abort', heard[at]!)
    })
  return control.signal
}

export {}
