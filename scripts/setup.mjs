/**
 * Prepares a clone: installs `node_modules` from package-lock.json, with Node 24 as a package. Uses
 * only Node's built-ins, because it runs before anything is installed, and on Node 20.
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('..', import.meta.url))
const modules = join(root, 'node_modules')
const localNode = join(modules, '.bin', process.platform === 'win32' ? 'node.cmd' : 'node')
const major = Number(process.versions.node.split('.')[0])

/** Installs missing packages, with a note on stderr. Returns the path of a Node for the program. */
export function setup() {
  if (!installed()) {
    process.stderr.write('Installing the packages of package-lock.json (once) ...\n')
    // The `node` package downloads its binary in an install script, so scripts must run. If there
    // is no binary for this machine, the system's Node is used if it is new enough.
    if (!npm('ci', '--no-audit', '--no-fund', '--loglevel=error')) {
      const usesSystemNode = major >= 24 && npm('ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error')
      if (!usesSystemNode) stop('npm ci failed. Check the network and the messages above, then run the command again.')
    }
  }
  if (existsSync(localNode)) return localNode
  if (major >= 24) return process.execPath
  return stop(`Node 24 is needed; this is ${process.version} and node_modules/.bin/node is missing. Run: npm ci`)
}

/** Runs a program with this one's stdio and forwards signals. Resolves with its exit code. */
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

/**
 * Returns true if node_modules has every locked package in its version, according to npm's records.
 */
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
  // Stdout is reserved for the program, so npm writes to stderr.
  const options = { cwd: root, stdio: ['ignore', 2, 2], shell: process.platform === 'win32' }
  return spawnSync('npm', args, options).status === 0
}

/** Returns an environment in which programs find Node 24 first. */
function environment(extra = {}) {
  const separator = process.platform === 'win32' ? ';' : ':'
  return { ...process.env, PATH: `${join(modules, '.bin')}${separator}${process.env.PATH ?? ''}`, ...extra }
}

function stop(message) {
  process.stderr.write(`${message}\n`)
  process.exit(1)
}
