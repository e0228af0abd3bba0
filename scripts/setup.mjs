/**
 * Makes a clone ready to run: `node_modules` as package-lock.json says, and Node 24 to run on (it comes as a
 * package). Node's built-ins only, for it must run before anything is installed, on Node 20 too.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('..', import.meta.url))
const modules = join(root, 'node_modules')
const localNode = join(modules, '.bin', process.platform === 'win32' ? 'node.cmd' : 'node')
const major = Number(process.versions.node.split('.')[0])

/** Installs what is missing, telling so on stderr. Returns the path of a Node that can run the program. */
export function setup() {
  if (!installed()) {
    process.stderr.write('Installing what package-lock.json lists (once) ...\n')
    // The `node` package fetches its binary in an install script, so scripts must run. Where no binary of it is
    // served for this machine the system's own Node will do, if it is new enough.
    if (!npm('ci', '--no-audit', '--no-fund', '--loglevel=error')) {
      const served = major >= 24 && npm('ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error')
      if (!served) stop('npm ci failed. Check the network and the messages above, then run the command again.')
    }
  }
  if (existsSync(localNode)) return localNode
  if (major >= 24) return process.execPath
  return stop(`Node 24 is needed; this is ${process.version} and node_modules/.bin/node is missing. Run: npm ci`)
}

/** Runs a program with this one's stdio; signals go through; resolves with its exit code. */
export function run(command, args, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, stdio: 'inherit', ...options, env: environment(options.env) })
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP']
    const forward = (signal) => child.kill(signal)
    for (const signal of signals) process.on(signal, forward)
    const end = (code) => {
      for (const signal of signals) process.off(signal, forward)
      resolve(code)
    }
    child.on('error', (error) => {
      process.stderr.write(`${command}: ${error.message}\n`)
      end(127)
    })
    child.on('close', (code, signal) => end(code ?? (signal === 'SIGINT' ? 130 : signal === 'SIGTERM' ? 143 : 1)))
  })
}

/** Whether every package of the lock is there in its version: npm keeps its own account in node_modules. */
function installed() {
  try {
    const wanted = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages
    const here = JSON.parse(readFileSync(join(modules, '.package-lock.json'), 'utf8')).packages
    const present = Object.entries(wanted).every(
      ([path, { version, optional, peer }]) =>
        path === '' || (here[path] ? here[path].version === version : optional || peer),
    )
    return present && (existsSync(localNode) || major >= 24)
  } catch {
    return false
  }
}

function npm(...args) {
  // stdout is the program's own: what npm says goes to stderr.
  const options = { cwd: root, stdio: ['ignore', 2, 2], shell: process.platform === 'win32' }
  return spawnSync('npm', args, options).status === 0
}

/** Programs find Node 24 first. */
function environment(extra = {}) {
  const separator = process.platform === 'win32' ? ';' : ':'
  return { ...process.env, PATH: `${join(modules, '.bin')}${separator}${process.env.PATH ?? ''}`, ...extra }
}

function stop(message) {
  process.stderr.write(`${message}\n`)
  process.exit(1)
}
