/** Runs the `foretoken` command to its end. */
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { builtCommand } from './built-command.ts'

/** What a command printed, and how it ended. */
export interface Result {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

/** Sends a signal to a running command. */
export type Kill = (signal: NodeJS.Signals) => void

/**
 * Runs the command with `input`, in a home of its own, without a network and without data sets.
 * `onOut` is called for each piece of its output, and `onStart` once it runs.
 */
export function runCli(
  home: string,
  args: readonly string[],
  input = '',
  onOut?: (kill: Kill) => void,
  onStart?: (kill: Kill) => unknown,
) {
  return new Promise<Result>((resolve) => {
    const env = {
      ...process.env,
      FORETOKEN_HOME: join(home, 'home'),
      HF_HOME: join(home, 'hf'),
      HF_ENDPOINT: 'http://127.0.0.1:9',
      FORETOKEN_DATA: '',
    }
    const child = spawn(process.execPath, [builtCommand, ...args], { env })
    let out = ''
    let err = ''
    child.stdout.on('data', (data) => {
      out += data
      onOut?.((signal) => child.kill(signal))
    })
    child.stderr.on('data', (data) => {
      err += data
    })
    child.on('close', (code) => resolve({ code, out, err }))
    child.stdin.on('error', () => {})
    child.stdin.end(input)
    onStart?.((signal) => child.kill(signal))
  })
}
