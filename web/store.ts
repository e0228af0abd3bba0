/**
 * Stores model files in the origin's private file system (OPFS) by SHA-256. A file is fetched into
 * `HASH.bin`, hashed as it arrives, and complete once `HASH.ok` exists: a tab that is closed early
 * leaves a part from which the next one continues (partial.ts).
 */
import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex } from '@noble/hashes/utils.js'
import { ForetokenError } from '../src/base/errors.ts'
import type { ByteSource } from '../src/index.ts'
import { memorySource } from '../src/model/source.ts'
import { blobSource } from './blob-source.ts'
import { download, nothing } from './download.ts'
import { handleSource } from './handle-source.ts'
import {
  checkLength,
  exclusively,
  fetchPart,
  isPromised,
  notPromised,
  type OnProgress,
  sweep,
  type Wanted,
} from './partial.ts'
import type { OfferedFile } from './protocol.ts'

export interface Fetched {
  readonly source: ByteSource
  /** True if the file is stored for the next visit; otherwise the reason why not. */
  readonly kept: true | string
  /** Must be called when the file has been read; until then it cannot be removed. */
  readonly close?: () => void
}

export interface Fetching {
  readonly onProgress: OnProgress
  /** Ends the download; what has been stored of it is kept. */
  readonly signal: AbortSignal
  /** Awaited before a file is held in memory, because it cannot be stored. */
  readonly beforeMemory: () => Promise<void>
}

export interface FetchOptions extends Fetching {
  /** Address of the manifest, to which file addresses are relative. */
  readonly base: string
}

/** The opened folder, or the reason why this tab has none. */
type Opened = { readonly folder: FileSystemDirectoryHandle } | { readonly why: string }

/**
 * Returns a file of a model, from storage or from its address. Rejects with `network` or
 * `checksum`.
 */
export async function fetchFile(file: OfferedFile, options: FetchOptions): Promise<Fetched> {
  const opened = await openFolder()
  if ('why' in opened) return inMemory(file, options, opened.why)
  const { folder } = opened
  const onWait = () => options.onProgress('wait', 0, 0)
  try {
    return await exclusively(file.sha256, onWait, () => fetchKept(folder, file, options), options.signal)
  } catch (error) {
    if (error instanceof ForetokenError || options.signal.aborted) throw error
    return inMemory(file, options, whyNot(error as DOMException))
  }
}

async function fetchKept(
  folder: FileSystemDirectoryHandle,
  file: OfferedFile,
  options: FetchOptions,
): Promise<Fetched> {
  if (await isWhole(folder, file.sha256)) {
    const whole = await keptFile(folder, file)
    if (whole.source.size === file.bytes) return whole
    whole.close?.()
  }
  await sweep(folder, file.sha256).catch(() => {})
  await fetchPart(folder, file.sha256, wantedOf(file, options), options.onProgress)
  await markWhole(folder, file.sha256)
  return keptFile(folder, file)
}

export function isWhole(folder: FileSystemDirectoryHandle, sha256: string): Promise<boolean> {
  return folder.getFileHandle(`${sha256}.ok`).then(
    () => true,
    () => false,
  )
}

/** Marks `HASH.bin` as complete. */
export async function markWhole(folder: FileSystemDirectoryHandle, sha256: string): Promise<void> {
  await folder.getFileHandle(`${sha256}.ok`, { create: true })
  await folder.removeEntry(`${sha256}.part`).catch(() => {})
}

/** Opens a complete stored file. */
export async function keptFile(
  folder: FileSystemDirectoryHandle,
  { name, sha256 }: Pick<OfferedFile, 'name' | 'sha256'>,
): Promise<Fetched> {
  const handle = await folder.getFileHandle(`${sha256}.bin`)
  const held = await handleSource(name, handle)
  if (held) return { source: held, kept: true, close: () => held.close() }
  return { source: blobSource(name, await handle.getFile()), kept: true }
}

/** Removes stored files, whole or begun. A file that another tab holds stays. */
export async function forget(hashes: readonly string[]): Promise<void> {
  const opened = await openFolder()
  if ('why' in opened) return
  const endings = ['ok', 'part', 'bin']
  for (const name of hashes.flatMap((hash) => endings.map((ending) => `${hash}.${ending}`)))
    await opened.folder.removeEntry(name).catch(() => {})
}

/** Returns true if all of these files are stored completely. */
export async function isKept(files: readonly OfferedFile[]): Promise<boolean> {
  const opened = await openFolder()
  if ('why' in opened) return false
  const found = await Promise.all(files.map(({ sha256 }) => isWhole(opened.folder, sha256)))
  return found.every(Boolean)
}

export async function openFolder(): Promise<Opened> {
  try {
    const root = await navigator.storage.getDirectory()
    return { folder: await root.getDirectoryHandle('foretoken', { create: true }) }
  } catch (error) {
    return { why: `this browser stores no files for the page (${(error as Error).message})` }
  }
}

export function whyNot({ name, message }: DOMException): string {
  if (name === 'QuotaExceededError')
    return 'the browser grants this page too little storage; free some, or leave private browsing'
  return name === 'NoModificationAllowedError' ? 'another tab is fetching it' : `storage failed: ${message}`
}

async function inMemory(file: OfferedFile, options: FetchOptions, kept: string): Promise<Fetched> {
  await options.beforeMemory()
  const wanted = wantedOf(file, options)
  const bytes = new Uint8Array(file.bytes)
  const hash = sha256.create()
  let at = 0
  for await (const piece of (await download(wanted.url, nothing, options.signal)).pieces) {
    checkLength(wanted, at + piece.length)
    bytes.set(piece, at)
    hash.update(piece)
    at += piece.length
    options.onProgress('fetch', at, file.bytes)
  }
  const found = { bytes: at, sha256: bytesToHex(hash.digest()) }
  if (!isPromised(wanted, found)) throw notPromised(wanted, found)
  return { source: memorySource(file.name, bytes), kept }
}

function wantedOf({ name, url, bytes, sha256 }: OfferedFile, { base, signal }: FetchOptions): Wanted {
  return { name, url: new URL(url, base), promised: { bytes, sha256 }, signal }
}
