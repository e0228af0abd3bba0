/**
 * A lock between processes: a file that names its holder, and that the holder touches every second. A holder that has ended, or that has given
 * no sign of life for long, is passed over.
 *
 * A pid alone tells nothing: the holder may run in another container or on another machine that shares the folder, and pids are used again.
 */
import { readFileSync, readlinkSync } from 'node:fs'
import { readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { Callback, ForetokenError } from '../src/index.ts'
import { fileError } from './disk.ts'

/** Milliseconds between two signs of life. */
const beatMs = 1000

export interface LockOptions {
  readonly signal?: AbortSignal | undefined
  /** Throw `busy` with this message rather than wait. */
  readonly refuse?: string
  /** Called once if the lock has to be waited for, with who holds it. */
  readonly onWait?: ((holder: string) => void) | undefined
  /**
   * For work that two may do at once without harm: a holder that gives no sign for so long, in milliseconds, is passed over even if its process
   * lives. Default: only one whose pid tells nothing, after 60,000; work that keeps a process busy gives no sign either.
   */
  readonly silentMs?: number
}

/** Runs `work` while nobody else does under the same `path`. Waits as long as it takes, or until `signal`. */
export async function withLock<T>(path: string, work: () => Promise<T>, options: LockOptions = {}): Promise<T> {
  const token = await take(path, options)
  const beat = setInterval(() => {
    const now = new Date()
    utimes(path, now, now).catch(() => {})
  }, beatMs)
  beat.unref()
  try {
    return await work()
  } finally {
    clearInterval(beat)
    // Whoever passed this holder over has a lock of its own there.
    if ((await readHolder(path))?.token === token) await rm(path, { force: true })
  }
}

async function take(path: string, { signal, refuse, onWait, silentMs }: LockOptions): Promise<string> {
  const told = new Callback('onWait', onWait)
  const token = crypto.randomUUID()
  const seen = new Watch(path, silentMs)
  for (let waited = false; ; ) {
    if (signal?.aborted) throw new ForetokenError('aborted', `cancelled while waiting for ${path}`)
    try {
      await writeFile(path, JSON.stringify({ ...self(), token }), { flag: 'wx' })
      return token
    } catch (error) {
      const { code, syscall } = error as NodeJS.ErrnoException
      // Made, but not written: a full disk.
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
    if (!waited) told.call(seen.holder)
    told.check()
    waited = true
    await sleep(100)
  }
}

/** What one who waits has seen of a lock. */
class Watch {
  readonly #path: string
  readonly #silentMs: number | undefined
  #since = 0
  /** Which file it is, and when it was touched last. */
  sign = ''
  holder = 'another process'

  constructor(path: string, silentMs: number | undefined) {
    this.#path = path
    this.#silentMs = silentMs
  }

  /** `silent`: it may be alive or not; time will tell. */
  async look(): Promise<'gone' | 'abandoned' | 'silent' | 'alive'> {
    const sign = await signOf(this.#path)
    if (sign === undefined) return 'gone'
    const holder = await readHolder(this.#path)
    this.holder = holder ? `process ${holder.pid}` : 'another process'
    // The waiter's own clock: that of a file server may be another.
    const now = performance.now()
    const [first, moved] = [this.sign === '', this.sign !== sign]
    if (moved) this.#since = now
    this.sign = sign
    const life = holder ? lifeOf(holder) : 'unknown'
    if (life === 'dead') return 'abandoned'
    // Without a holder: made, and not written yet; or left by one that could not write, or by an older version.
    const patience = this.#silentMs ?? (life === 'alive' ? Number.POSITIVE_INFINITY : 60_000)
    if (now - this.#since >= patience) return 'abandoned'
    return life === 'alive' || (moved && !first) ? 'alive' : 'silent'
  }
}

/** Takes away the lock that was judged, and no other: another waiter may have replaced it meanwhile. */
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

/** A process, in a way that another one can tell it by. */
export interface Holder {
  readonly pid: number
  /** Where pids mean the same: machine and pid namespace. */
  readonly space: string
  /** When it started, as the system counts; '' where that is not known. */
  readonly started: string
}

export function self(): Holder {
  return { pid: process.pid, space: space(), started: startOf(process.pid) }
}

/** Whether a process lives: `unknown` if it runs where its pid tells nothing. */
export function lifeOf({ pid, space: where, started }: Holder): 'alive' | 'dead' | 'unknown' {
  if (where !== space()) return 'unknown'
  try {
    process.kill(pid, 0)
  } catch (error) {
    // Any other failure is another user's process.
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return 'dead'
  }
  const start = startOf(pid)
  return started === '' || start === '' || start === started ? 'alive' : 'dead'
}

async function readHolder(path: string): Promise<(Holder & { readonly token?: string }) | undefined> {
  try {
    const found = JSON.parse(await readFile(path, 'utf8'))
    // Earlier versions wrote a pid and nothing else: if it lives here, it is believed.
    const bare = { pid: found, space: space(), started: '' }
    if (isHolder(bare)) return lifeOf(bare) === 'alive' ? bare : { ...bare, space: '' }
    return isHolder(found) ? (found as Holder & { token: string }) : undefined
  } catch {
    return undefined
  }
}

export function isHolder(found: unknown): found is Holder {
  const { pid, space, started } = (found ?? {}) as Partial<Holder>
  return Number.isSafeInteger(pid) && pid! > 0 && typeof space === 'string' && typeof started === 'string'
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

/** Field 22 of /proc/PID/stat; its second may hold spaces and parentheses. */
function startOf(pid: number): string {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? ''
  } catch {
    return ''
  }
}
