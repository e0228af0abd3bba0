/**
 * Files of models, kept in the origin's private file system (OPFS) by their SHA-256. A file is fetched into `HASH.bin`, hashed as it comes, and counts as whole
 * once `HASH.ok` lies beside it: a tab that is closed in the middle leaves a part, from which the next goes on.
 */
import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex } from '@noble/hashes/utils.js'
import { type ByteSource, ForetokenError, memorySource } from '../src/index.ts'
import { blobSource } from './blob-source.ts'
import { asked, bodyOf } from './download.ts'
import { handleSource } from './handle-source.ts'
import type { OfferedFile } from './protocol.ts'

export interface Fetched {
  readonly source: ByteSource
  /** Whether the next visit finds it; why not, where it does not. */
  readonly kept: true | string
  /** To be called when it has been read: until then nobody can remove it. */
  readonly close?: () => void
}

export interface FetchOptions {
  /** Of the manifest: addresses are relative to it. */
  readonly base: string
  readonly onProgress: (stage: 'fetch' | 'check', done: number) => void
}

/** What was opened, and can't be for this tab. */
type Opened = { readonly folder: FileSystemDirectoryHandle } | { readonly why: string }

/** A file of a model, from here or from its address. Rejects with `network`, `checksum`. */
export async function fetchFile(file: OfferedFile, options: FetchOptions): Promise<Fetched> {
  const opened = await openFolder()
  if ('why' in opened) return inMemory(file, options, opened.why)
  const { folder } = opened
  if (await exists(folder, `${file.sha256}.ok`)) {
    const whole = await keptFile(folder, file)
    if (whole.source.size === file.bytes) return whole
    whole.close?.()
  }
  try {
    await fetchInto(folder, file, options)
  } catch (error) {
    if (error instanceof ForetokenError) throw error
    return inMemory(file, options, whyNot(error as DOMException))
  }
  return keptFile(folder, file)
}

/** A file that lies here whole. */
export async function keptFile(
  folder: FileSystemDirectoryHandle,
  { name, sha256 }: Pick<OfferedFile, 'name' | 'sha256'>,
): Promise<Fetched> {
  const handle = await folder.getFileHandle(`${sha256}.bin`)
  const held = await handleSource(name, handle)
  if (held) return { source: held, kept: true, close: () => held.close() }
  return { source: blobSource(name, await handle.getFile()), kept: true }
}

/** Removes all that is kept. */
export async function forgetAll(): Promise<void> {
  const root = await navigator.storage.getDirectory()
  await root.removeEntry('foretoken', { recursive: true }).catch(() => {})
}

/** Whether a visit finds all of these files here. */
export async function isKept(files: readonly OfferedFile[]): Promise<boolean> {
  const opened = await openFolder()
  if ('why' in opened) return false
  const found = await Promise.all(files.map(({ sha256 }) => exists(opened.folder, `${sha256}.ok`)))
  return found.every(Boolean)
}

export async function openFolder(): Promise<Opened> {
  try {
    const root = await navigator.storage.getDirectory()
    return { folder: await root.getDirectoryHandle('foretoken', { create: true }) }
  } catch (error) {
    return { why: `this browser keeps no files for the page (${(error as Error).message})` }
  }
}

async function fetchInto(folder: FileSystemDirectoryHandle, file: OfferedFile, options: FetchOptions): Promise<void> {
  const handle = await folder.getFileHandle(`${file.sha256}.bin`, { create: true })
  const out = await handle.createSyncAccessHandle()
  try {
    const hash = sha256.create()
    let at = out.getSize() < file.bytes ? out.getSize() : 0
    const buffer = new Uint8Array(1 << 20)
    for (let from = 0; from < at; from += buffer.length) {
      const some = buffer.subarray(0, Math.min(buffer.length, at - from))
      out.read(some, { at: from })
      hash.update(some)
      options.onProgress('check', from + some.length)
    }
    for await (const piece of piecesOf(file, options.base, at)) {
      if (piece === 'anew') {
        at = 0
        hash.destroy()
        return await restart(out, file, options)
      }
      if (at + piece.length > file.bytes) throw wrong(file, at + piece.length, '')
      at += write(out, piece, at)
      hash.update(piece)
      options.onProgress('fetch', at)
    }
    finish(out, hash, file, at)
  } finally {
    out.close()
  }
  await folder.getFileHandle(`${file.sha256}.ok`, { create: true })
}

/** The server gives no ranges: from the front. */
async function restart(out: FileSystemSyncAccessHandle, file: OfferedFile, options: FetchOptions): Promise<void> {
  out.truncate(0)
  const hash = sha256.create()
  let at = 0
  for await (const piece of piecesOf(file, options.base, 0)) {
    if (piece === 'anew') continue
    if (at + piece.length > file.bytes) throw wrong(file, at + piece.length, '')
    at += write(out, piece, at)
    hash.update(piece)
    options.onProgress('fetch', at)
  }
  finish(out, hash, file, at)
}

export function whyNot({ name, message }: DOMException): string {
  if (name === 'QuotaExceededError')
    return 'the browser gives this page too little storage: free some, or leave private browsing'
  return name === 'NoModificationAllowedError' ? 'another tab is fetching it' : `storage failed: ${message}`
}

export function write(out: FileSystemSyncAccessHandle, piece: Uint8Array, at: number): number {
  const written = out.write(piece as Uint8Array<ArrayBuffer>, { at })
  if (written !== piece.length) throw new DOMException('the storage is full', 'QuotaExceededError')
  return written
}

function finish(out: FileSystemSyncAccessHandle, hash: { digest(): Uint8Array }, file: OfferedFile, at: number): void {
  out.flush()
  const found = bytesToHex(hash.digest())
  if (at === file.bytes && found === file.sha256) return
  // What is kept must not be gone on from.
  if (at >= file.bytes) out.truncate(0)
  throw wrong(file, at, found)
}

async function inMemory(file: OfferedFile, { base, onProgress }: FetchOptions, kept: string): Promise<Fetched> {
  const bytes = new Uint8Array(file.bytes)
  const hash = sha256.create()
  let at = 0
  for await (const piece of piecesOf(file, base, 0)) {
    if (piece === 'anew') continue
    if (at + piece.length > bytes.length) throw wrong(file, at + piece.length, '')
    bytes.set(piece, at)
    hash.update(piece)
    at += piece.length
    onProgress('fetch', at)
  }
  const found = bytesToHex(hash.digest())
  if (at !== file.bytes || found !== file.sha256) throw wrong(file, at, found)
  return { source: memorySource(file.name, bytes), kept }
}

/** Bytes from `from` on; first `anew` where the server begins at the front although it was asked for a range. */
async function* piecesOf(file: OfferedFile, base: string, from: number): AsyncGenerator<Uint8Array | 'anew'> {
  const response = await asked(new URL(file.url, base), from)
  if (from > 0 && response.status !== 206) yield 'anew'
  if (from > 0 && response.status !== 206) return void response.body.cancel()
  yield* bodyOf(response)
}

function wrong(file: OfferedFile, bytes: number, found: string): ForetokenError {
  const what = bytes === file.bytes ? `its SHA-256 is ${found.slice(0, 12)}…` : `${bytes} bytes came`
  return new ForetokenError(
    'checksum',
    `${file.name} is not what was offered (${what}, and not ${file.bytes} bytes of ${file.sha256.slice(0, 12)}…); load again to fetch it anew`,
  )
}

async function exists(folder: FileSystemDirectoryHandle, name: string): Promise<boolean> {
  return folder.getFileHandle(name).then(
    () => true,
    () => false,
  )
}
