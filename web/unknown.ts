/** A file of which its address alone is known: its SHA-256 is what comes, and is what it is kept and found by from then on. */
import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex } from '@noble/hashes/utils.js'
import { ForetokenError } from '../src/index.ts'
import { blobSource } from './blob-source.ts'
import { asked, bodyOf } from './download.ts'
import { type Fetched, keptFile, openFolder, whyNot, write } from './store.ts'

export interface FetchedUnknown extends Fetched {
  readonly bytes: number
  /** Hex. */
  readonly sha256: string
}

type Progress = (done: number, total: number) => void

/** Rejects with `network`. */
export async function fetchUnknown(url: URL, onProgress: Progress): Promise<FetchedUnknown> {
  const opened = await openFolder()
  if ('why' in opened) return inMemory(url, onProgress, opened.why)
  try {
    return await into(opened.folder, url, onProgress)
  } catch (error) {
    if (error instanceof ForetokenError) throw error
    return inMemory(url, onProgress, whyNot(error as DOMException))
  }
}

/** The last part of an address. */
export function nameOf(url: URL): string {
  return url.pathname.split('/').pop() || 'model.gguf'
}

interface MovableHandle extends FileSystemFileHandle {
  move(name: string): Promise<void>
}

async function into(folder: FileSystemDirectoryHandle, url: URL, onProgress: Progress): Promise<FetchedUnknown> {
  const handle = (await folder.getFileHandle('unknown.bin', { create: true })) as MovableHandle
  const out = await handle.createSyncAccessHandle()
  let found: Omit<FetchedUnknown, 'source' | 'kept'>
  try {
    out.truncate(0)
    found = await pieces(url, onProgress, (piece, at) => write(out, piece, at))
    out.flush()
  } catch (error) {
    out.truncate(0)
    throw error
  } finally {
    out.close()
  }
  await handle.move(`${found.sha256}.bin`)
  await folder.getFileHandle(`${found.sha256}.ok`, { create: true })
  return { ...found, ...(await keptFile(folder, { name: nameOf(url), sha256: found.sha256 })) }
}

async function inMemory(url: URL, onProgress: Progress, kept: string): Promise<FetchedUnknown> {
  const blobs: Blob[] = []
  const found = await pieces(url, onProgress, (piece) => blobs.push(new Blob([piece as Uint8Array<ArrayBuffer>])))
  return { ...found, source: blobSource(nameOf(url), new Blob(blobs)), kept }
}

async function pieces(url: URL, onProgress: Progress, take: (piece: Uint8Array, at: number) => void) {
  const response = await asked(url, 0)
  const total = Number(response.headers.get('content-length') ?? 0)
  const hash = sha256.create()
  let bytes = 0
  for await (const piece of bodyOf(response)) {
    take(piece, bytes)
    hash.update(piece)
    bytes += piece.length
    onProgress(bytes, Math.max(total, bytes))
  }
  return { bytes, sha256: bytesToHex(hash.digest()) }
}
