/**
 * Runs `wrangler dev` as a child process, the only local way in which a Worker sees a client
 * disconnect as in production.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'

export interface Dev {
  readonly url: string
  /** All of its output so far. */
  log(): string
  stop(): Promise<void>
}

const program = join(dirname(createRequire(import.meta.url).resolve('wrangler/package.json')), 'bin', 'wrangler.js')

const quiet = () => ({ ...process.env, WRANGLER_SEND_METRICS: 'false', CI: '1', NO_COLOR: '1' })

/** Runs one command to its end, on the local state in `folder`. */
export async function wrangler(args: readonly string[], folder: string): Promise<void> {
  const local = ['--local', '--persist-to', folder]
  await promisify(execFile)(process.execPath, [program, ...args, ...local], { env: quiet() })
}

/** Starts the Worker of `config` on a free loopback port, with its state in `folder`. */
export async function wranglerDev(config: string, folder: string, flags: readonly string[] = []): Promise<Dev> {
  const args = ['dev', '-c', config, '--port', '0', '--ip', '127.0.0.1', '--show-interactive-dev-session=false']
  const child = spawn(process.execPath, [program, ...args, '--persist-to', folder, ...flags], {
    env: quiet(),
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let log = ''
  const url = await new Promise<string>((resolve, reject) => {
    const read = (piece: Buffer) => {
      log += piece
      const [found] = /http:\/\/127\.0\.0\.1:\d+/.exec(log.slice(log.indexOf('Ready on'))) ?? []
      if (log.includes('Ready on') && found) resolve(found)
    }
    child.stdout.on('data', read)
    child.stderr.on('data', read)
    child.once('exit', (code) => reject(new Error(`wrangler dev ended with ${code}:\n${log}`)))
  })
  return { url, log: () => log, stop: () => stop(child) }
}

/** The parent process ends its workerd. */
function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve()
  return new Promise((resolve) => {
    child.once('exit', () => resolve())
    child.kill('SIGTERM')
  })
}
