/**
 * Downloads that survive their tab: `NAME.bin` holds the bytes so far, `NAME.part` the identity of
 * the file that they came from. One tab at a time writes; the next one continues if the file is
 * unchanged.
 */
import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex } from '@noble/hashes/utils.js'
import { ForetokenError } from '../src/base/errors.ts'
import { type Begun, download, type Identity, nothing } from './download.ts'

export interface Wanted {
  readonly name: string
  readonly url: URL
  /** The expected size and hash, if known. */
  readonly promised?: { readonly bytes: number; readonly sha256: string }
  /** Ends the download; what has arrived is kept. */
  readonly signal?: AbortSignal
}

export interface Found {
  readonly bytes: number
  /** SHA-256 in hex. */
  readonly sha256: string
}

/** Called with progress; the stage `wait` waits for another tab. `total` is 0 if unknown. */
export type OnProgress = (stage: 'wait' | 'check' | 'fetch', done: number, total: number) => void

/** Maximum size of a file, in bytes: more than the memory of a tab's engine. */
export const mostBytes = 2 ** 32

/**
 * Fetches `wanted` into `NAME.bin`. Rejects with `network`, keeping the bytes for the next time,
 * with `checksum`, and with a DOMException if storage fails.
 */
export async function fetchPart(
  folder: FileSystemDirectoryHandle,
  name: string,
  wanted: Wanted,
  onProgress: OnProgress,
): Promise<Found> {
  const file = await folder.getFileHandle(`${name}.bin`, { create: true })
  const out = await openToWrite(file, onProgress, wanted.signal)
  try {
    const begun = await begunPart(folder, name, out, wanted)
    const { found, resumed } = await fill(folder, name, out, wanted, begun, onProgress)
    if (isPromised(wanted, found)) return found
    // The parts belong to two versions that the server did not distinguish; fetches again from the
    // front.
    const again = resumed ? (await fill(folder, name, out, wanted, nothing, onProgress)).found : found
    if (isPromised(wanted, again)) return again
    // Discards wrong bytes; a file that is merely too short may be continued.
    if (again.bytes >= wanted.promised!.bytes) out.truncate(0)
    throw notPromised(wanted, again)
  } finally {
    out.close()
  }
}

/**
 * Runs `work` exclusively among all tabs. If another tab holds the lock, `onWait` is called first.
 * A tab that dies releases it at once. `signal` ends the wait.
 */
export async function exclusively<T>(
  name: string,
  onWait: () => void,
  work: () => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  const { locks } = navigator
  if (!locks) return work()
  const key = `foretoken/${name}`
  const tried = await locks.request(key, { ifAvailable: true }, async (lock) => lock && { value: await work() })
  if (tried) return tried.value
  onWait()
  return signal ? locks.request(key, { signal }, work) : locks.request(key, work)
}

/** Removes unfinished downloads that have not changed for a week, except that of `wanted`. */
export async function sweep(folder: FileSystemDirectoryHandle, wanted: string, now = Date.now()): Promise<void> {
  const names = new Set<string>()
  for await (const name of folder.keys()) names.add(name)
  for (const name of names) {
    const whose = name.replace(/\.(bin|part)$/, '')
    if (whose === name || whose === wanted || names.has(`${whose}.ok`)) continue
    const { lastModified } = await (await folder.getFileHandle(name)).getFile()
    // A file that is being written cannot be removed, and stays.
    if (now - lastModified > 7 * 86_400_000) await folder.removeEntry(name).catch(() => {})
  }
}

export function notPromised({ name, promised }: Wanted, { bytes, sha256 }: Found): ForetokenError {
  const { bytes: most, sha256: right } = promised!
  const what = bytes === most ? `its SHA-256 is ${sha256.slice(0, 12)}…` : `${bytes} bytes arrived`
  return new ForetokenError(
    'checksum',
    `${name} does not match its manifest (${what}, expected ${most} bytes with ${right.slice(0, 12)}…); load again to fetch it anew`,
  )
}

export function isPromised({ promised }: Wanted, { bytes, sha256 }: Found): boolean {
  return !promised || (bytes === promised.bytes && sha256 === promised.sha256)
}

/** Throws if a file exceeds its expected size, or the maximum for a tab. */
export function checkLength(wanted: Wanted, bytes: number): void {
  if (wanted.promised && bytes > wanted.promised.bytes) throw notPromised(wanted, { bytes, sha256: '' })
  if (bytes > mostBytes)
    throw new ForetokenError(
      'network',
      `${wanted.url} has more than ${mostBytes} bytes, more than a tab can hold; enter the address of a smaller model`,
    )
}

async function fill(
  folder: FileSystemDirectoryHandle,
  name: string,
  out: FileSystemSyncAccessHandle,
  wanted: Wanted,
  begun: Begun,
  onProgress: OnProgress,
): Promise<{ readonly found: Found; readonly resumed: boolean }> {
  let hash = sha256.create()
  let at = begun.bytes
  await readAll(
    out,
    at,
    (piece, done) => {
      hash.update(piece)
      onProgress('check', done, wanted.promised?.bytes ?? begun.identity?.length ?? 0)
    },
    wanted.signal,
  )
  if (at > 0 && at === wanted.promised?.bytes)
    return { found: { bytes: at, sha256: bytesToHex(hash.digest()) }, resumed: true }
  const { from, identity, pieces } = await download(wanted.url, begun, wanted.signal)
  if (from === 0) {
    // Truncates before writing the note, which must never describe another file's bytes.
    out.truncate(0)
    hash = sha256.create()
    at = 0
    await writeNote(folder, name, { url: wanted.url.href, identity })
  }
  const total = wanted.promised?.bytes ?? identity.length ?? 0
  for await (const piece of pieces) {
    try {
      checkLength(wanted, at + piece.length)
    } catch (error) {
      out.truncate(0)
      throw error
    }
    at += write(out, piece, at)
    hash.update(piece)
    onProgress('fetch', at, total)
  }
  out.flush()
  return { found: { bytes: at, sha256: bytesToHex(hash.digest()) }, resumed: from > 0 }
}

/** Returns the part that an earlier tab left, if it can be continued. */
async function begunPart(
  folder: FileSystemDirectoryHandle,
  name: string,
  out: FileSystemSyncAccessHandle,
  { url, promised }: Wanted,
): Promise<Begun> {
  const bytes = out.getSize()
  const note = await readNote(folder, name)
  const identity = note?.url === url.href ? note.identity : undefined
  if (promised ? bytes > promised.bytes : !identity) return nothing
  return { bytes, identity, hashed: promised !== undefined }
}

interface Note {
  readonly url: string
  readonly identity: Identity
}

async function readNote(folder: FileSystemDirectoryHandle, name: string): Promise<Note | undefined> {
  try {
    const handle = await folder.getFileHandle(`${name}.part`)
    const { url, identity } = JSON.parse(await (await handle.getFile()).text())
    const { etag, modified, length } = identity
    if (typeof url !== 'string') return undefined
    return {
      url,
      identity: {
        ...(typeof etag === 'string' && { etag }),
        ...(typeof modified === 'string' && { modified }),
        ...(Number.isSafeInteger(length) && { length }),
      },
    }
  } catch {
    // The note is missing, or a dying tab left it incomplete.
    return undefined
  }
}

async function writeNote(folder: FileSystemDirectoryHandle, name: string, note: Note): Promise<void> {
  const handle = await folder.getFileHandle(`${name}.part`, { create: true })
  const out = await handle.createSyncAccessHandle()
  try {
    out.truncate(0)
    write(out, new TextEncoder().encode(JSON.stringify(note)), 0)
    out.flush()
  } finally {
    out.close()
  }
}

const tries = 100
const betweenMs = 100

/**
 * Opens a file for writing, with retries: a dying worker holds its file slightly longer than its
 * lock, and a tab without locks holds it as long as it fetches.
 */
async function openToWrite(
  file: FileSystemFileHandle,
  onProgress: OnProgress,
  signal: AbortSignal | undefined,
): Promise<FileSystemSyncAccessHandle> {
  for (let left = tries; ; left--) {
    signal?.throwIfAborted()
    try {
      return await file.createSyncAccessHandle()
    } catch (error) {
      if ((error as DOMException).name !== 'NoModificationAllowedError' || left === 1) throw error
    }
    onProgress('wait', 0, 0)
    await new Promise((resolve) => setTimeout(resolve, betweenMs))
  }
}

const stretchBytes = 1 << 20
/** Bytes between two looks at what the page asked for meanwhile, such as to cancel. */
const turnBytes = 32 << 20

/** Reads the first `bytes` bytes of a file in pieces; each is valid only during the call. */
export async function readAll(
  file: FileSystemSyncAccessHandle,
  bytes: number,
  onPiece: (piece: Uint8Array, done: number) => void,
  signal?: AbortSignal,
): Promise<void> {
  const buffer = new Uint8Array(Math.min(stretchBytes, bytes))
  for (let from = 0; from < bytes; ) {
    const read = file.read(buffer.subarray(0, Math.min(buffer.length, bytes - from)), { at: from })
    if (read === 0) throw new DOMException(`ends at byte ${from} of ${bytes}`, 'InvalidStateError')
    from += read
    onPiece(buffer.subarray(0, read), from)
    if (from % turnBytes === 0) await new Promise((resolve) => setTimeout(resolve))
    signal?.throwIfAborted()
  }
}

export function write(out: FileSystemSyncAccessHandle, piece: Uint8Array, at: number): number {
  const written = out.write(piece as Uint8Array<ArrayBuffer>, { at })
  if (written !== piece.length) throw new DOMException('the storage is full', 'QuotaExceededError')
  return written
}
