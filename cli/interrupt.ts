/** Ctrl-C and other signals: the first cancels and lets the command clean up, the second ends it at once. */
import { type EndingSignal, signalCodes } from './exit.ts'

/** npm and the shell may both pass one key press on: signals this close together are one. Milliseconds. */
const onePress = 250

export interface Interrupt {
  /** Fires at the first signal. */
  readonly signal: AbortSignal
  /** The exit code by the first signal that came; undefined before. */
  code(): number | undefined
  /** Leaves signals to Node again. */
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
