/** The facts about a machine that `doctor` checks, as an interface that tests can replace. */
import { spawn } from 'node:child_process'
import { constants } from 'node:fs'
import { access, readdir, readFile, stat } from 'node:fs/promises'
import { createServer } from 'node:net'
import os from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { companionConfigOf } from '../../companion/config.ts'
import { createApp, parsedConfig } from '../../edge/node.ts'
import { diskSpace } from '../../node/disk.ts'
import { httpFetch } from '../../node/http.ts'
import {
  defaultThreads,
  ForetokenError,
  listModels,
  loadWasm,
  performanceCores,
  type StoredModel,
} from '../../node/index.ts'
import type { Environment } from '../../node/proxy.ts'
import { type Build, selectCore } from '../../src/backend/wasm/select.ts'
import { readText } from '../text.ts'

export interface FolderFacts {
  /**
   * False if the folder does not exist yet; `writable` is then about its nearest existing parent.
   */
  readonly exists: boolean
  readonly writable: boolean
  /** Total size of its files in bytes, partial ones included. */
  readonly bytes: number
  /** Partial files of interrupted downloads. */
  readonly partial: { readonly files: number; readonly bytes: number }
}

/** The answer of the process that looks for a GPU. */
export type GpuFacts = { readonly adapter: string } | { readonly problem: string }

export interface Host {
  readonly runtime: { readonly name: string; readonly version: string }
  readonly env: Environment
  readonly cpu: { readonly model: string; readonly logical: number; readonly fast: number; readonly threads: number }
  readonly sharedMemory: boolean
  /**
   * Selects a build of the core. `lowering` says how the engine reads the second operand of its dot
   * product. Throws `unsupported` with the reason.
   */
  core(build: Build | 'auto', threaded: boolean): Promise<{ readonly build: Build; readonly lowering: number }>
  /** Returns the memory in bytes. */
  memory(): { readonly total: number; readonly available: number }
  folder(path: string, signal: AbortSignal): Promise<FolderFacts>
  /** Returns the free and total bytes of the disk for `path`, which need not exist yet. */
  disk(path: string): Promise<{ readonly free: number; readonly total: number }>
  models(): Promise<readonly StoredModel[]>
  /** Returns the status of a HEAD request. Does not follow redirects. */
  head(url: string, signal: AbortSignal): Promise<number>
  /** Returns the version of pip, or undefined if it is not installed. */
  pip(signal: AbortSignal): Promise<string | undefined>
  /** Looks for a GPU. Returns undefined if the package `webgpu` is not installed. */
  gpu(signal: AbortSignal): Promise<GpuFacts | undefined>
  /** Returns the version of a package, or undefined if it is not installed. */
  packageVersion(name: string): Promise<string | undefined>
  /** Returns undefined if a server could listen on the port, or else the system's reason. */
  portProblem(port: number, signal: AbortSignal): Promise<string | undefined>
  /** Checks a config, and returns its command. Throws `bad_argument`, `not_found`, `io`. */
  config(path: string): Promise<'serve' | 'companion'>
}

export const thisHost: Host = {
  runtime: runtime(),
  env: process.env,
  cpu: {
    model: os.cpus()[0]?.model.trim() || 'a CPU without a name',
    logical: os.cpus().length || os.availableParallelism(),
    fast: performanceCores(),
    threads: defaultThreads(),
  },
  sharedMemory: typeof SharedArrayBuffer === 'function',
  async core(build, threaded) {
    const { build: chosen, lowering } = await selectCore(await loadWasm(build, threaded ? 2 : 1), build, threaded)
    return { build: chosen, lowering }
  },
  memory() {
    const limit = process.constrainedMemory?.() || Infinity
    return { total: Math.min(os.totalmem(), limit), available: process.availableMemory?.() ?? os.freemem() }
  },
  async folder(path, signal) {
    const there = await nearest(path)
    const writable = await access(there, constants.W_OK | constants.X_OK).then(
      () => true,
      () => false,
    )
    return { exists: there === path, writable, ...(there === path ? await contents(path, signal) : empty) }
  },
  disk: async (path) => diskSpace(await nearest(path)),
  models: listModels,
  async head(url, signal) {
    const response = await httpFetch(url, { method: 'HEAD', redirect: 'manual', signal })
    await response.body?.cancel()
    return response.status
  },
  async pip(signal) {
    const answer = await output('python3', ['-m', 'pip', '--version'], signal).catch(() => '')
    return /^pip (\S+)/.exec(answer)?.[1]
  },
  async gpu(signal) {
    const address = resolved('webgpu')
    if (address === undefined) return undefined
    // Uses another process, because a driver may hang or crash.
    const text = await output(process.execPath, ['--input-type=module', '--eval', askAdapter, address], signal)
    return JSON.parse(text.trim().split('\n').at(-1)!)
  },
  async packageVersion(name) {
    const address = resolved(name)
    if (address === undefined) return undefined
    for (let at = dirname(fileURLToPath(address)); at !== dirname(at); at = dirname(at)) {
      const text = await readFile(join(at, 'package.json'), 'utf8').catch(() => undefined)
      const { name: found, version } = text === undefined ? {} : JSON.parse(text)
      if (found === name) return version
    }
    return undefined
  },
  portProblem: (port, signal) =>
    new Promise((resolve) => {
      const server = createServer()
      server.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
      server.listen({ port, host: '127.0.0.1', signal }, () => server.close(() => resolve(undefined)))
    }),
  async config(path) {
    const config = parsedConfig(await readText(path), path)
    if ('edges' in config || 'openai' in config) {
      companionConfigOf(config)
      return 'companion'
    }
    createApp({ engine: unloaded, config: { models: ['model'], ...config, listen: 'loopback' } })
    return 'serve'
  },
}

function runtime(): Host['runtime'] {
  const { bun, deno, node } = process.versions as { bun?: string; deno?: string; node: string }
  if (bun !== undefined) return { name: 'Bun', version: bun }
  return deno === undefined ? { name: 'Node', version: node } : { name: 'Deno', version: deno }
}

/** Returns `path`, or its nearest existing parent. */
async function nearest(path: string): Promise<string> {
  const found = await stat(path).catch(() => undefined)
  return found || dirname(path) === path ? path : nearest(dirname(path))
}

const empty = { bytes: 0, partial: { files: 0, bytes: 0 } }

async function contents(folder: string, signal: AbortSignal) {
  const counts = { bytes: 0, partial: { files: 0, bytes: 0 } }
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  for (const entry of entries) {
    signal.throwIfAborted()
    if (!entry.isFile()) continue
    const { size } = await stat(join(entry.parentPath, entry.name)).catch(() => ({ size: 0 }))
    counts.bytes += size
    if (!entry.name.endsWith('.part')) continue
    counts.partial.files++
    counts.partial.bytes += size
  }
  return counts
}

/**
 * A script that requests an adapter and prints its name. The first argument is the package's
 * address.
 */
const askAdapter = `
import { writeSync } from 'node:fs'
const { create } = await import(process.argv[1])
const adapter = await create([]).requestAdapter()
const { vendor, architecture, description } = adapter?.info ?? {}
const name = [vendor, architecture, description].filter(Boolean).join(', ') || 'an adapter without a name'
writeSync(1, JSON.stringify(adapter ? { adapter: name } : { problem: 'no adapter' }))
process.exit(0)
`

/** Runs a program and returns its output; kills it when `signal` fires. Rejects if it fails. */
function output(program: string, args: readonly string[], signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], signal, killSignal: 'SIGKILL' })
    let [out, err] = ['', '']
    child.stdout.on('data', (text) => (out += text))
    child.stderr.on('data', (text) => (err += text))
    child.on('error', reject)
    child.on('close', (code, killed) => {
      if (code === 0) return resolve(out)
      const last = err.trim().split('\n').at(-1) ?? ''
      reject(new ForetokenError('unsupported', `its process ended with ${killed ?? code}: ${last.slice(0, 200)}`))
    })
  })
}

/** Returns the address of a package's main file, or undefined if it is not installed. */
function resolved(name: string): string | undefined {
  try {
    return import.meta.resolve(name)
  } catch {
    return undefined
  }
}

async function unloaded(): Promise<never> {
  throw new ForetokenError('internal', 'this app only checks a config')
}
