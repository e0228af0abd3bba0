/**
 * A download that outlives its tab: `NAME.bin` holds the bytes so far, `NAME.part` what the server said of the file that they came from. One tab at a time
 * writes it; the next goes on behind what is there if that is still the same file.
 */
import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex } from '@noble/hashes/utils.js'
import { ForetokenError } from '../src/index.ts'
import { type Begun, download, type Identity, nothing } from './download.ts'

export interface Wanted {
  readonly name: string
  readonly url: URL
  /** What it must be, where that is known. */
  readonly promised?: { readonly bytes: number; readonly sha256: string }
}

export interface Found {
  readonly bytes: number
  /** Hex. */
  readonly sha256: string
}

/** `wait`: for another tab. `total` is 0 where the server does not tell it. */
export type OnProgress = (stage: 'wait' | 'check' | 'fetch', done: number, total: number) => void

/** Maximum size of a file, in bytes: more than the memory of a tab's engine. */
export const mostBytes = 2 ** 32

/**
 * Fetches what `wanted` says into `NAME.bin`. Rejects with `network`, where what has come is kept for the next time, with `checksum`, and with a DOMException
 * where storage fails.
 */
export async function fetchPart(
  folder: FileSystemDirectoryHandle,
  name: string,
  wanted: Wanted,
  onProgress: OnProgress,
): Promise<Found> {
  const out = await openToWrite(await folder.getFileHandle(`${name}.bin`, { create: true }), onProgress)
  try {
    const begun = await begunPart(folder, name, out, wanted)
    const { found, resumed } = await fill(folder, name, out, wanted, begun, onProgress)
    if (isPromised(wanted, found)) return found
    // Parts of two files, which the server did not tell apart.
    const again = resumed ? (await fill(folder, name, out, wanted, nothing, onProgress)).found : found
    if (isPromised(wanted, again)) return again
    // What is wrong must not be gone on from; what is short may be.
    if (again.bytes >= wanted.promised!.bytes) out.truncate(0)
    throw notPromised(wanted, again)
  } finally {
    out.close()
  }
}

/** Runs `work` alone among all tabs; `onWait` is called first where another is at it. A tab that dies lets go at once. */
export async function exclusively<T>(name: string, onWait: () => void, work: () => Promise<T>): Promise<T> {
  const { locks } = navigator
  if (!locks) return work()
  const key = `foretoken/${name}`
  const tried = await locks.request(key, { ifAvailable: true }, async (lock) => lock && { value: await work() })
  if (tried) return tried.value
  onWait()
  return locks.request(key, work)
}

/** Removes downloads that nobody has gone on with for a week, but for that which is `wanted` now. */
export async function sweep(folder: FileSystemDirectoryHandle, wanted: string, now = Date.now()): Promise<void> {
  const names = new Set<string>()
  for await (const name of folder.keys()) names.add(name)
  for (const name of names) {
    const whose = name.replace(/\.(bin|part)$/, '')
    if (whose === name || whose === wanted || names.has(`${whose}.ok`)) continue
    const { lastModified } = await (await folder.getFileHandle(name)).getFile()
    // A file that is being written can't be removed, and stays.
    if (now - lastModified > 7 * 86_400_000) await folder.removeEntry(name).catch(() => {})
  }
}

export function notPromised({ name, promised }: Wanted, { bytes, sha256 }: Found): ForetokenError {
  const { bytes: most, sha256: right } = promised!
  const what = bytes === most ? `its SHA-256 is ${sha256.slice(0, 12)}…` : `${bytes} bytes came`
  return new ForetokenError(
    'checksum',
    `${name} is not what was offered (${what}, and not ${most} bytes of ${right.slice(0, 12)}…); load again to fetch it anew`,
  )
}

export function isPromised({ promised }: Wanted, { bytes, sha256 }: Found): boolean {
  return !promised || (bytes === promised.bytes && sha256 === promised.sha256)
}

/** Throws before a file outgrows what was promised, or any tab. */
export function checkLength(wanted: Wanted, bytes: number): void {
  if (wanted.promised && bytes > wanted.promised.bytes) throw notPromised(wanted, { bytes, sha256: '' })
  if (bytes > mostBytes)
    throw new ForetokenError(
      'network',
      `${wanted.url} has more than ${mostBytes} bytes, which no tab can hold; give the address of a smaller model`,
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
  readAll(out, at, (piece, done) => {
    hash.update(piece)
    onProgress('check', done, wanted.promised?.bytes ?? begun.identity?.length ?? 0)
  })
  if (at > 0 && at === wanted.promised?.bytes)
    return { found: { bytes: at, sha256: bytesToHex(hash.digest()) }, resumed: true }
  const { from, identity, pieces } = await download(wanted.url, begun)
  if (from === 0) {
    // Bytes first: a note must not vouch for those of another file.
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

/** What an earlier tab left, where it can be gone on from. */
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
    // None, or one that a dying tab left half-written: nothing is known.
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

/** A worker that dies holds its file a moment longer than its lock, and a tab without locks for as long as it fetches. */
async function openToWrite(file: FileSystemFileHandle, onProgress: OnProgress): Promise<FileSystemSyncAccessHandle> {
  for (let left = tries; ; left--) {
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

/** The first `bytes` of a file, in pieces that hold until the next. */
export function readAll(
  file: FileSystemSyncAccessHandle,
  bytes: number,
  take: (piece: Uint8Array, done: number) => void,
): void {
  const buffer = new Uint8Array(Math.min(stretchBytes, bytes))
  for (let from = 0; from < bytes; ) {
    const read = file.read(buffer.subarray(0, Math.min(buffer.length, bytes - from)), { at: from })
    if (read === 0) throw new DOMException(`ends at byte ${from} of ${bytes}`, 'InvalidStateError')
    from += read
    take(buffer.subarray(0, read), from)
  }
}

export function write(out: FileSystemSyncAccessHandle, piece: Uint8Array, at: number): number {
  const written = out.write(piece as Uint8Array<ArrayBuffer>, { at })
  if (written !== piece.length) throw new DOMException('the storage is full', 'QuotaExceededError')
  return written
}
