/**
 * A lock between processes: a file that names its holder and that the holder touches every second.
 * A holder that has ended, or was silent for long, loses the lock.
 *
 * A pid alone proves nothing: the holder may run in another container or on another machine that
 * shares the folder, and pids are reused.
 */
import { readFileSync, readlinkSync } from 'node:fs'
import { readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { Callback, ForetokenError, isWhole } from '../src/index.ts'
import { fileError } from './disk.ts'

/** Milliseconds between two touches of the file. */
const beatMs = 1000

export interface LockOptions {
  readonly signal?: AbortSignal | undefined
  /** If present, `busy` is thrown with this message instead of waiting. */
  readonly refuse?: string
  /** Called once with the name of the holder if the lock has to be waited for. */
  readonly onWait?: ((holder: string) => void) | undefined
  /**
   * For work that two processes may do at once without harm: a holder that was silent for this many
   * milliseconds loses the lock even if its process lives. Default: only a holder whose pid cannot
   * be checked loses it, after 60,000, because work that keeps a process busy is silent too.
   */
  readonly silentMs?: number
}

/**
 * Runs `work` while nobody else does under the same `path`. Waits without a limit, or until
 * `signal`.
 */
export async function withLock<T>(path: string, work: () => Promise<T>, options: LockOptions = {}): Promise<T> {
  const token = await acquire(path, options)
  const beat = setInterval(() => {
    const now = new Date()
    utimes(path, now, now).catch(() => {})
  }, beatMs)
  beat.unref()
  try {
    return await work()
  } finally {
    clearInterval(beat)
    // A process that declared this holder dead has its own lock there.
    if ((await readHolder(path))?.token === token) await rm(path, { force: true })
  }
}

async function acquire(path: string, { signal, refuse, onWait, silentMs }: LockOptions): Promise<string> {
  const waitCallback = new Callback('onWait', onWait)
  const token = crypto.randomUUID()
  const seen = new Watch(path, silentMs)
  for (let waited = false; ; ) {
    if (signal?.aborted) throw new ForetokenError('aborted', `cancelled while waiting for ${path}`)
    try {
      await writeFile(path, JSON.stringify({ ...self(), token }), { flag: 'wx' })
      return token
    } catch (error) {
      const { code, syscall } = error as NodeJS.ErrnoException
      // The file was created but not written: the disk is full.
      if (syscall === 'write') await rm(path, { force: true })
      if (code !== 'EEXIST') throw fileError(error, path)
    }
    const state = await seen.look()
    if (state === 'gone') continue
    if (state === 'abandoned') {
      await remove(path, seen.sign)
      continue
    }
    if (refuse !== undefined && state === 'alive') throw new ForetokenError('busy', refuse)
    if (!waited) waitCallback.call(seen.holder)
    waitCallback.check()
    waited = true
    await sleep(100)
  }
}

/** What a waiter has seen of a lock. */
class Watch {
  readonly #path: string
  readonly #silentMs: number | undefined
  #since = 0
  /** The identity of the file and its last touch. */
  sign = ''
  holder = 'another process'

  constructor(path: string, silentMs: number | undefined) {
    this.#path = path
    this.#silentMs = silentMs
  }

  /**
   * Returns the state of the lock. `silent` means that the holder may be alive or not; time will
   * tell.
   */
  async look(): Promise<'gone' | 'abandoned' | 'silent' | 'alive'> {
    const sign = await signOf(this.#path)
    if (sign === undefined) return 'gone'
    const holder = await readHolder(this.#path)
    this.holder = holder ? `process ${holder.pid}` : 'another process'
    // This is the waiter's own clock, because a file server's may differ.
    const now = performance.now()
    const [first, moved] = [this.sign === '', this.sign !== sign]
    if (moved) this.#since = now
    this.sign = sign
    const life = holder ? lifeOf(holder) : 'unknown'
    if (life === 'dead') return 'abandoned'
    // A file without a holder is not written yet, or was left by a process that could not write, or
    // by an older version.
    const patience = this.#silentMs ?? (life === 'alive' ? Number.POSITIVE_INFINITY : 60_000)
    if (now - this.#since >= patience) return 'abandoned'
    return life === 'alive' || (moved && !first) ? 'alive' : 'silent'
  }
}

/**
 * Removes the lock that was judged, and no other: another waiter may have replaced it meanwhile.
 */
async function remove(path: string, sign: string): Promise<void> {
  const aside = `${path}.${crypto.randomUUID()}`
  try {
    await rename(path, aside)
  } catch {
    return
  }
  const moved = await signOf(aside)
  if (moved !== undefined && moved !== sign) await rename(aside, path).catch(() => {})
  else await rm(aside, { force: true })
}

async function signOf(path: string): Promise<string | undefined> {
  const found = await stat(path, { bigint: true }).catch(() => undefined)
  return found && `${found.ino} ${found.mtimeNs}`
}

/** Identifies a process to other processes. */
export interface Holder {
  readonly pid: number
  /** The scope of the pid: machine and pid namespace. */
  readonly space: string
  /** When the process started, in the system's own count; '' if unknown. */
  readonly started: string
}

export function self(): Holder {
  return { pid: process.pid, space: space(), started: startOf(process.pid) }
}

/** Returns whether a process lives; `unknown` if its pid has no meaning here. */
export function lifeOf({ pid, space: where, started }: Holder): 'alive' | 'dead' | 'unknown' {
  if (where !== space()) return 'unknown'
  try {
    process.kill(pid, 0)
  } catch (error) {
    // Any other failure means another user's process.
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return 'dead'
  }
  const start = startOf(pid)
  return started === '' || start === '' || start === started ? 'alive' : 'dead'
}

async function readHolder(path: string): Promise<(Holder & { readonly token?: string }) | undefined> {
  try {
    const found = JSON.parse(await readFile(path, 'utf8'))
    // Earlier versions wrote only a pid. It is believed if that process lives here.
    const bare = { pid: found, space: space(), started: '' }
    if (isHolder(bare)) return lifeOf(bare) === 'alive' ? bare : { ...bare, space: '' }
    return isHolder(found) ? (found as Holder & { token: string }) : undefined
  } catch {
    return undefined
  }
}

export function isHolder(found: unknown): found is Holder {
  const { pid, space, started } = (found ?? {}) as Partial<Holder>
  return isWhole(pid, 1) && typeof space === 'string' && typeof started === 'string'
}

function space(): string {
  const read = (get: () => string) => {
    try {
      return get().trim()
    } catch {
      return ''
    }
  }
  const boot = read(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8'))
  const pids = read(() => readlinkSync('/proc/self/ns/pid'))
  return [hostname(), boot, pids].join(' ')
}

/** Returns field 22 of /proc/PID/stat. Its second field may hold spaces and parentheses. */
function startOf(pid: number): string {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? ''
  } catch {
    return ''
  }
}
