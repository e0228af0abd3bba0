/** Ctrl-C: the first cancels and lets the command clean up, the second ends it at once. */

/** npm and the shell may both pass one key press on: signals this close together are one. Milliseconds. */
const onePress = 250

export function interruptible(): { signal: AbortSignal; end: () => void } {
  const control = new AbortController()
  let first = 0
  const onSignal = () => {
    const now = performance.now()
    if (!control.signal.aborted) {
      first = now
      control.abort()
    } else if (now - first > onePress) process.exit(130)
  }
  const names = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
  for (const name of names) process.on(name, onSignal)
  return {
    signal: control.signal,
    end() {
      for (const name of names) process.off(name, onSignal)
    },
  }
}
