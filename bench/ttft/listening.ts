/** Starts the command line as a process that listens: an endpoint with its page, or a companion. */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'

export interface Served {
  /** The address without a path. */
  readonly url: string
  stop(): void
}

/**
 * Resolves when the process reports that it listens; rejects with its last line if it ends before.
 * `cli` is its script.
 */
export async function listening(cli: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Served> {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', cli, ...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  for await (const line of createInterface({ input: child.stderr })) {
    said = line
    const [url] = /http:\/\/[\d.:]+/.exec(line) ?? []
    if (!url) continue
    child.stderr.resume()
    return { url, stop: () => child.kill() }
  }
  throw new Error(`foretoken ${args[0]} ended early: ${said}`)
}
