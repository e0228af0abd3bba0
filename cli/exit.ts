/** Exit codes of the command. `foretoken help`, docs/cli.md and the code share this table. */

export const exitCodes = {
  done: { code: 0, brief: 'done', about: 'success, or the reader of the output closed it early, as `head` does' },
  failed: { code: 1, brief: 'failed', about: 'failed: stderr says why, with a code such as `not_found`' },
  usage: { code: 2, brief: 'wrong usage', about: 'wrong usage: nothing was run' },
  hangup: { code: 129, brief: 'hangup', about: 'ended by SIGHUP, when its terminal was closed' },
  interrupted: { code: 130, brief: 'Ctrl-C', about: 'ended by SIGINT: Ctrl-C' },
  terminated: { code: 143, brief: 'SIGTERM', about: 'ended by SIGTERM' },
} as const

/** Signals that end a command, with the resulting exit code: 128 plus the signal's number. */
export const signalCodes = {
  SIGHUP: exitCodes.hangup.code,
  SIGINT: exitCodes.interrupted.code,
  SIGTERM: exitCodes.terminated.code,
} as const

export type EndingSignal = keyof typeof signalCodes
