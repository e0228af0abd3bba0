/**
 * Keeps the part of a file that has arrived. While a process writes it, its name belongs to that
 * process, `TARGET.ID.part`; between two runs it is `TARGET.part`. `....part.json` beside it holds
 * the version of the file and the number of bytes that are certainly on disk.
 *
 * No process writes into another's partial. A process claims a parked partial, or one whose process
 * has ended, by renaming it; it copies one whose process may still write. Two processes that fetch
 * the same file therefore do not disturb each other.
 */
import { constants } from 'node:fs'
import { copyFile, type FileHandle, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { ForetokenError, isWhole } from '../src/index.ts'
import { type Holder, isHolder, lifeOf, self } from './lock.ts'

/** The version of a file on a server, from the response headers. */
export interface Version {
  readonly etag?: string | undefined
  readonly lastModified?: string | undefined
  /**
   * True if a range of this version may be requested: it has a strong ETag, or a date old enough to
   * be unique.
   */
  readonly strong: boolean
}

/** The record beside a partial. */
interface Note {
  readonly url: string
  readonly version: Version
  readonly size: number | undefined
  /** Number of bytes that were on disk when this was written. */
  readonly have: number
  /** The partial's inode. A note without its file, or with another one, is ignored. */
  readonly ino: string
  readonly owner: Holder
}

/** Time between two syncs to disk, in milliseconds. */
const syncMs = 1000
/**
 * Time without a write after which a partial may be copied if its owner cannot be checked, in
 * milliseconds.
 */
const silentMs = 10_000
/** Time after which an unusable partial is removed, in milliseconds. */
const garbageMs = 7 * 86_400_000

export class PartialFile {
  readonly #target: string
  readonly #path: string
  readonly #url: string
  readonly #file: FileHandle
  readonly #ino: string
  version: Version
  /** Size of the whole file in bytes; undefined until it is known. */
  size: number | undefined
  have: number
  #synced = performance.now()

  /**
   * Opens the partial of `url` for `target`, with the bytes that an earlier run left if they are
   * `usable`. The caller must hold the lock of `target`.
   */
  static async open(
    target: string,
    url: string,
    usable: (version: Version, size: number | undefined) => boolean,
  ): Promise<PartialFile> {
    const path = `${target}.${crypto.randomUUID().slice(0, 8)}.part`
    const note = await claim(target, path, (note) => note.url === url && usable(note.version, note.size))
    const file = await open(path, note ? 'r+' : 'wx+')
    const { ino, size } = await file.stat({ bigint: true })
    const fresh = { version: { strong: false }, size: undefined, have: 0 }
    const sound = note !== undefined && size >= note.have
    const partial = new PartialFile(target, path, url, file, String(ino), sound ? note : fresh)
    try {
      // Written before the source has answered: if this process is killed while it waits, a later
      // run knows that this partial has no owner.
      await partial.#note()
      return partial
    } catch (error) {
      // Bytes that an earlier run left keep that run's note.
      if (sound) await file.close()
      else await partial.discard()
      throw error
    }
  }

  private constructor(
    target: string,
    path: string,
    url: string,
    file: FileHandle,
    ino: string,
    { version, size, have }: Pick<Note, 'version' | 'size' | 'have'>,
  ) {
    this.#target = target
    this.#path = path
    this.#url = url
    this.#file = file
    this.#ino = ino
    this.version = version
    this.size = size
    this.have = have
  }

  get path(): string {
    return this.#path
  }

  /** Keeps at most `have` of the bytes so far, which are of this version. */
  async begin(have: number, version: Version, size: number | undefined): Promise<void> {
    // The note goes before the bytes, so bytes of one version never lie under the note of another.
    this.have = Math.min(have, this.have)
    this.version = version
    this.size = size
    await this.#file.truncate(this.have)
    await this.#note()
  }

  async write(chunk: Uint8Array): Promise<void> {
    for (let done = 0; done < chunk.length; ) {
      const { bytesWritten } = await this.#file.write(chunk, done, chunk.length - done, this.have)
      done += bytesWritten
      this.have += bytesWritten
    }
    if (performance.now() - this.#synced < syncMs) return
    await this.#file.datasync()
    await this.#note()
    this.#synced = performance.now()
  }

  /**
   * Writes all bytes to disk, so that a later read sees only bytes that a power cut would leave.
   */
  async sync(): Promise<void> {
    await this.#file.sync()
    await this.#note()
  }

  /** Gives the finished file its name. Throws `not_found` if the partial was removed. */
  async finish(): Promise<void> {
    await this.#file.close()
    await rename(this.#path, this.#target).catch((error) => {
      if (error.code === 'ENOENT') throw new ForetokenError('not_found', `${this.#path} was removed meanwhile`)
      throw error
    })
    await rm(`${this.#path}.json`, { force: true })
  }

  /** Leaves the bytes to a later run if it can continue from them; else removes them. */
  async end(canGoOn: boolean): Promise<void> {
    if (!canGoOn || this.have === 0) return this.discard()
    try {
      await this.#file.datasync()
      await this.#file.close()
      await rm(`${this.#target}.part.json`, { force: true })
      await rename(this.#path, `${this.#target}.part`)
      await writeNote(`${this.#target}.part.json`, this.#content())
      await rm(`${this.#path}.json`, { force: true })
    } catch {
      // A disk that fails now has failed before, and the caller reports that failure.
      await this.discard()
    }
  }

  async discard(): Promise<void> {
    await this.#file.close().catch(() => {})
    await removePair(this.#path)
  }

  async #note(): Promise<void> {
    await writeNote(`${this.#path}.json`, this.#content())
  }

  #content(): Note {
    const { version, size, have } = this
    return { url: this.#url, version, size, have, ino: this.#ino, owner: self() }
  }
}

/** Moves the best usable partial of earlier runs to `path`, and removes useless ones. */
async function claim(target: string, path: string, usable: (note: Note) => boolean): Promise<Note | undefined> {
  const found: { path: string; note: Note; whose: 'ours' | 'others' }[] = []
  for (const candidate of await partialsOf(target)) {
    const note = await readNote(candidate)
    const idle = await idleMs(candidate)
    const parked = candidate === `${target}.part`
    const ours = parked || (note !== undefined && lifeOf(note.owner) === 'dead')
    if (note && note.have > 0 && usable(note)) {
      if (ours || (idle >= silentMs && lifeOf(note.owner) === 'unknown'))
        found.push({ path: candidate, note, whose: ours ? 'ours' : 'others' })
    } else if (ours || idle >= garbageMs) await removePair(candidate)
  }
  found.sort((a, b) => b.note.have - a.note.have)
  const [best, ...rest] = found
  for (const { path: other, whose } of rest) if (whose === 'ours') await removePair(other)
  if (!best) return undefined
  try {
    if (best.whose === 'ours') {
      await rename(best.path, path)
      await rename(`${best.path}.json`, `${path}.json`)
    } else {
      await copyFile(best.path, path, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE)
      // It may have started over while it was copied.
      const after = await readNote(best.path)
      if (after?.have === undefined || after.have < best.note.have || !sameVersion(after.version, best.note.version))
        throw new Error('changed while it was copied')
      await removePair(best.path)
    }
    return best.note
  } catch {
    await removePair(path)
    return undefined
  }
}

export function sameVersion(a: Version, b: Version): boolean {
  return a.etag === b.etag && (a.etag !== undefined || a.lastModified === b.lastModified)
}

async function partialsOf(target: string): Promise<string[]> {
  const [folder, base] = [dirname(target), basename(target)]
  const names = await readdir(folder).catch(() => [] as string[])
  const parts = names.filter((name) => {
    if (!name.startsWith(`${base}.`) || !name.endsWith('.part')) return false
    return /^\.([0-9a-f]{8}\.)?part$/.test(name.slice(base.length))
  })
  return parts.map((name) => join(folder, name))
}

async function idleMs(path: string): Promise<number> {
  return stat(path).then(
    ({ mtimeMs }) => Date.now() - mtimeMs,
    () => 0,
  )
}

async function readNote(path: string): Promise<Note | undefined> {
  try {
    const note = JSON.parse(await readFile(`${path}.json`, 'utf8')) as Note
    const { url, version, size, have, ino, owner } = note
    const sound =
      typeof url === 'string' &&
      typeof version?.strong === 'boolean' &&
      [version.etag, version.lastModified].every((one) => one === undefined || typeof one === 'string') &&
      (size === undefined || isWhole(size)) &&
      isWhole(have) &&
      (size === undefined || have <= size) &&
      isHolder(owner)
    return sound && String((await stat(path, { bigint: true })).ino) === ino ? note : undefined
  } catch {
    return undefined
  }
}

async function writeNote(path: string, note: Note): Promise<void> {
  const temporary = `${path}.${process.pid}`
  await writeFile(temporary, JSON.stringify(note))
  await rename(temporary, path)
}

async function removePair(path: string): Promise<void> {
  await rm(path, { force: true })
  await rm(`${path}.json`, { force: true })
}
