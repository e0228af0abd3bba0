/**
 * Fetches a file of which only the address is known; afterwards it is stored and found by its
 * SHA-256.
 */
import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex } from '@noble/hashes/utils.js'
import { ForetokenError } from '../src/base/errors.ts'
import { blobSource } from './blob-source.ts'
import { download, nothing } from './download.ts'
import { checkLength, exclusively, type Found, fetchPart, readAll, sweep, write } from './partial.ts'
import { type Fetched, type Fetching, isWhole, keptFile, markWhole, openFolder, whyNot } from './store.ts'

export interface FetchedUnknown extends Fetched, Found {}

/** Fetches the file. Rejects with `network`. */
export async function fetchUnknown(url: URL, fetching: Fetching): Promise<FetchedUnknown> {
  const opened = await openFolder()
  if ('why' in opened) return inMemory(url, fetching, opened.why)
  const { folder } = opened
  const { signal, onProgress } = fetching
  const part = partOf(url)
  try {
    const found = await exclusively(
      part,
      () => onProgress('wait', 0, 0),
      () => fetchKept(folder, part, url, fetching),
      signal,
    )
    return { ...found, ...(await keptFile(folder, { name: nameOf(url), sha256: found.sha256 })) }
  } catch (error) {
    if (error instanceof ForetokenError || signal.aborted) throw error
    return inMemory(url, fetching, whyNot(error as DOMException))
  }
}

/** Returns the last segment of an address. */
export function nameOf(url: URL): string {
  return url.pathname.split('/').pop() || 'model.gguf'
}

/** Returns the name of a download until its hash is known. */
export function partOf(url: URL): string {
  return `at-${bytesToHex(sha256(new TextEncoder().encode(url.href))).slice(0, 32)}`
}

async function fetchKept(
  folder: FileSystemDirectoryHandle,
  part: string,
  url: URL,
  { onProgress, signal }: Fetching,
): Promise<Found> {
  await sweep(folder, part).catch(() => {})
  const found = await fetchPart(folder, part, { name: nameOf(url), url, signal }, onProgress)
  const onWait = () => onProgress('wait', 0, 0)
  await exclusively(found.sha256, onWait, async () => {
    // The same bytes may be stored from another address, and in use.
    if (await isWhole(folder, found.sha256)) await folder.removeEntry(`${part}.bin`)
    else await rename(folder, `${part}.bin`, `${found.sha256}.bin`)
    await markWhole(folder, found.sha256)
  })
  await folder.removeEntry(`${part}.part`).catch(() => {})
  return found
}

interface MovableHandle extends FileSystemFileHandle {
  move?(name: string): Promise<void>
}

async function rename(folder: FileSystemDirectoryHandle, from: string, to: string): Promise<void> {
  const handle: MovableHandle = await folder.getFileHandle(from)
  // `move` is not standardized, and not every browser can replace an existing file.
  const moved = await handle.move?.(to).then(
    () => true,
    () => false,
  )
  if (moved) return
  const source = await handle.createSyncAccessHandle()
  try {
    const target = await (await folder.getFileHandle(to, { create: true })).createSyncAccessHandle()
    try {
      target.truncate(0)
      let at = 0
      await readAll(source, source.getSize(), (piece) => {
        at += write(target, piece, at)
      })
      target.flush()
    } finally {
      target.close()
    }
  } finally {
    source.close()
  }
  await folder.removeEntry(from)
}

async function inMemory(
  url: URL,
  { onProgress, signal, beforeMemory }: Fetching,
  kept: string,
): Promise<FetchedUnknown> {
  await beforeMemory()
  const blobs: Blob[] = []
  const hash = sha256.create()
  let bytes = 0
  const { identity, pieces } = await download(url, nothing, signal)
  for await (const piece of pieces) {
    checkLength({ name: nameOf(url), url }, bytes + piece.length)
    blobs.push(new Blob([piece as Uint8Array<ArrayBuffer>]))
    hash.update(piece)
    bytes += piece.length
    onProgress('fetch', bytes, identity.length ?? 0)
  }
  const found = { bytes, sha256: bytesToHex(hash.digest()) }
  return { ...found, source: blobSource(nameOf(url), new Blob(blobs)), kept }
}
