/** Handles Ctrl-C and other signals: the first cancels the command, the second ends the process. */
import { type EndingSignal, signalCodes } from './exit.ts'

/**
 * Signals within this time, in milliseconds, count as one, because npm and the shell may both
 * forward one key press.
 */
const onePress = 250

export interface Interrupt {
  /** Fires at the first signal. */
  readonly signal: AbortSignal
  /** Returns the exit code of the first signal, or undefined if there was none. */
  code(): number | undefined
  /** Removes the handlers, so that Node handles signals again. */
  end(): void
}

export function interruptible(): Interrupt {
  const control = new AbortController()
  let first: { readonly at: number; readonly code: number } | undefined
  const onSignal = (name: NodeJS.Signals) => {
    const code = signalCodes[name as EndingSignal]
    const at = performance.now()
    if (first === undefined) {
      first = { at, code }
      control.abort()
    } else if (at - first.at > onePress) process.exit(code)
  }
  const names = Object.keys(signalCodes) as EndingSignal[]
  for (const name of names) process.on(name, onSignal)
  return {
    signal: control.signal,
    code: () => first?.code,
    end() {
      for (const name of names) process.off(name, onSignal)
    },
  }
}
