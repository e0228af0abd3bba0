/** A lock between processes: a file with its holder's pid. A lock whose holder is dead is taken over. */
import { readFile, rm, stat, writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { ForetokenError } from '../src/index.ts'
import { fileError } from './disk.ts'

/** Locks of this process: its own pid is alive, so the file alone would not tell a second caller from a leftover. */
const held = new Set<string>()

export interface LockOptions {
  readonly signal?: AbortSignal | undefined
  /** Throw `busy` with this message rather than wait. */
  readonly refuse?: string
}

/** Runs `work` while nobody else does under the same `path`. Waits as long as it takes, or until `signal`. */
export async function withLock<T>(path: string, work: () => Promise<T>, options: LockOptions = {}): Promise<T> {
  const { signal, refuse } = options
  // A leftover of a dead holder is removed by the first try and taken by the second.
  for (let tries = 1; !(await take(path)); tries++) {
    if (refuse !== undefined && tries > 1) throw new ForetokenError('busy', refuse)
    if (signal?.aborted) throw new ForetokenError('aborted', `cancelled while waiting for ${path}`)
    await sleep(100)
  }
  try {
    return await work()
  } finally {
    held.delete(path)
    await rm(path, { force: true })
  }
}

async function take(path: string): Promise<boolean> {
  if (held.has(path)) return false
  held.add(path)
  try {
    await writeFile(path, String(process.pid), { flag: 'wx' })
    return true
  } catch (error) {
    held.delete(path)
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw fileError(error, path)
    if (await abandoned(path)) await rm(path, { force: true })
    return false
  }
}

/** Two takers may both find a lock abandoned; what they then write is the same bytes, and is checked as a whole. */
async function abandoned(path: string): Promise<boolean> {
  try {
    const pid = Number(await readFile(path, 'utf8'))
    // Created, but its pid is not written yet.
    if (!pid) return Date.now() - (await stat(path)).mtimeMs > 2000
    if (pid === process.pid) return !held.has(path)
    process.kill(pid, 0)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
}
