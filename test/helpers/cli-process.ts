/** Runs the `foretoken` command as a process that listens. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { builtCommand } from './built-command.ts'

/** The environment without the API keys of the user who runs the tests. */
const noKeys = { FORETOKEN_API_KEY: '', FORETOKEN_COMPANION_KEY: '' }

export function startCli(args: readonly string[], env: NodeJS.ProcessEnv = {}, cwd = process.cwd()) {
  const child = spawn(process.execPath, [builtCommand, ...args], {
    env: { ...process.env, ...noKeys, ...env },
    cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const got = { out: '', err: '' }
  child.stdout.on('data', (text) => (got.out += text))
  child.stderr.on('data', (text) => (got.err += text))
  const ended = once(child, 'close').then(([code]) => code as number)
  /**
   * Resolves with the address on which it listens, without a path; rejects with its output if it
   * ends before.
   */
  const url = async () => {
    for (;;) {
      const found = / at (https?:\/\/[^\s/]+)/.exec(got.err)?.[1]
      if (found) return found
      if (child.exitCode !== null) throw new Error(got.err)
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
  return { child, got, ended, url }
}

export function postChat(url: string, body: object, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify(body),
  })
}
