/**
 * The key that a companion and an edge on one machine share, so that nobody has to copy one:
 * `companion.key` in foretoken's folder, 64 hex digits, readable by its owner alone. It must be
 * copied by hand to edges on other machines.
 */
import { randomBytes } from 'node:crypto'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { ForetokenError } from '../src/index.ts'
import { fileError } from './disk.ts'
import { home } from './home.ts'

export function machineKeyPath(): string {
  return join(home(), 'companion.key')
}

/**
 * Returns the key of this machine; undefined if none has been made. Throws `io`, and `bad_argument`
 * for a file without a key.
 */
export async function machineKey(): Promise<string | undefined> {
  const path = machineKeyPath()
  try {
    const text = (await readFile(path, 'utf8')).trim()
    if (/^[0-9a-f]{64}$/.test(text)) return text
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw fileError(error, path)
  }
  throw new ForetokenError('bad_argument', `${path} holds no key of 64 hex digits; remove it, and a new one is created`)
}

/**
 * Returns the key of this machine, and creates it if necessary. Concurrent callers get the same
 * key.
 */
export async function makeMachineKey(): Promise<string> {
  const found = await machineKey()
  if (found) return found
  const path = machineKeyPath()
  try {
    await mkdir(dirname(path), { recursive: true })
    const key = randomBytes(32).toString('hex')
    await writeFile(path, `${key}\n`, { flag: 'wx', mode: 0o600 })
    return key
  } catch (error) {
    const other = (error as NodeJS.ErrnoException).code === 'EEXIST' ? await machineKey() : undefined
    if (other) return other
    throw fileError(error, path)
  }
}
