/**
 * Stores the K and V of a prefix in one file, so that it is computed once and shipped with an app.
 *
 *     0   8 bytes   "FTPREFIX"
 *     8   u32       version, 1
 *     12  u32       size of the head in bytes, a multiple of 64
 *     16            head: JSON in UTF-8, padded with spaces
 *                   pages, in order: each as in the pool, all layers of 16 tokens
 *     -32           SHA-256 of everything before it
 *
 * Numbers are little-endian. Sizes are checked against the file's size before anything is
 * allocated. The pages are exact K and V of one model: `fingerprint` binds them to its weights.
 */

import { ForetokenError } from '../base/errors.ts'
import { equalBytes, sha256 } from '../base/hash.ts'
import { type KvPool, type KvType, pageTokens } from '../base/kv.ts'
import { isWhole } from '../base/numbers.ts'

/** A prefix in memory, in whole pages. */
export interface SavedPrefix {
  /** Token ids, `pageTokens` for each page. */
  readonly ids: readonly number[]
  /** One view of the file's bytes for each page. */
  readonly pages: readonly Uint8Array[]
}

/** The model and page format that a prefix is valid for. */
export interface PrefixBinding {
  /** Name of the model, for messages. */
  readonly model: string
  readonly fingerprint: string
  readonly vocab: number
  readonly pool: Pick<KvPool, 'type' | 'layers' | 'kvHeads' | 'headDim' | 'pageBytes'>
}

interface Head {
  readonly model: string
  readonly fingerprint: string
  readonly kv: KvType
  readonly layers: number
  readonly kv_heads: number
  readonly head_dim: number
  readonly page_tokens: number
  readonly page_bytes: number
  readonly ids: readonly number[]
}

const magic = new TextEncoder().encode('FTPREFIX')
const version = 1
const headAt = 16
const hashBytes = 32

/** Returns the bytes of a prefix file. */
export async function encodePrefix(
  { ids, pages }: SavedPrefix,
  binding: PrefixBinding,
): Promise<Uint8Array<ArrayBuffer>> {
  const { type, layers, kvHeads, headDim, pageBytes } = binding.pool
  const head: Head = {
    model: binding.model,
    fingerprint: binding.fingerprint,
    kv: type,
    layers,
    kv_heads: kvHeads,
    head_dim: headDim,
    page_tokens: pageTokens,
    page_bytes: pageBytes,
    ids,
  }
  const text = new TextEncoder().encode(JSON.stringify(head))
  const headBytes = Math.ceil(text.length / 64) * 64
  const end = headAt + headBytes + pages.length * pageBytes
  const file = new Uint8Array(end + hashBytes)
  file.set(magic)
  const view = new DataView(file.buffer)
  view.setUint32(8, version, true)
  view.setUint32(12, headBytes, true)
  file.fill(0x20, headAt, headAt + headBytes)
  file.set(text, headAt)
  pages.forEach((page, index) => {
    file.set(page, headAt + headBytes + index * pageBytes)
  })
  file.set(await sha256(file.subarray(0, end)), end)
  return file
}

/**
 * Reads a file that `encodePrefix` wrote for the same model. Throws `bad_prefix` for anything else
 * or another version, `checksum` for a damaged file, and `wrong_model` for one of another model or
 * another type of K and V.
 */
export async function decodePrefix(file: Uint8Array, binding: PrefixBinding): Promise<SavedPrefix> {
  const { head, pagesAt } = readHead(file)
  const { pageBytes } = binding.pool
  // The pages must fill the file exactly, so that the head of a hostile file can't claim more than
  // there is.
  if (!isWhole(head.page_bytes, 1) || !Array.isArray(head.ids)) throw bad('its head does not describe its pages')
  const count = head.ids.length / pageTokens
  const expected = pagesAt + count * head.page_bytes + hashBytes
  if (head.page_tokens !== pageTokens || !isWhole(count) || expected !== file.length)
    throw bad(`it has ${file.length} bytes, and its head describes ${expected}`)
  const end = file.length - hashBytes
  const hash = await sha256(file.subarray(0, end) as Uint8Array<ArrayBuffer>)
  if (!equalBytes(hash, file.subarray(end)))
    throw new ForetokenError('checksum', 'the prefix file is damaged: its SHA-256 does not match; save it again')
  checkBinding(head, binding)
  const pages = Array.from({ length: count }, (_, i) => {
    return file.subarray(pagesAt + i * pageBytes, pagesAt + (i + 1) * pageBytes)
  })
  return { ids: head.ids, pages }
}

function readHead(file: Uint8Array): { head: Head; pagesAt: number } {
  if (file.length < headAt + hashBytes || !magic.every((byte, i) => file[i] === byte))
    throw bad(`it has ${file.length} bytes and does not begin with "FTPREFIX"`)
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength)
  const found = view.getUint32(8, true)
  if (found !== version)
    throw bad(`it has version ${found}, and this foretoken reads ${version}; save it again with this one`)
  const pagesAt = headAt + view.getUint32(12, true)
  if (pagesAt > file.length - hashBytes) throw bad(`its head has ${pagesAt - headAt} bytes and the file ${file.length}`)
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(file.subarray(headAt, pagesAt))
    const head: unknown = JSON.parse(text)
    if (typeof head !== 'object' || head === null) throw new Error('it is not an object')
    return { head: head as Head, pagesAt }
  } catch (cause) {
    throw new ForetokenError('bad_prefix', `not a prefix file: its head can't be read: ${(cause as Error).message}`, {
      cause,
    })
  }
}

function checkBinding(head: Head, { model, fingerprint, vocab, pool }: PrefixBinding): void {
  if (head.fingerprint !== fingerprint)
    throw new ForetokenError(
      'wrong_model',
      `the prefix was made by ${head.model} (${String(head.fingerprint).slice(0, 12)}), and this is ${model} ` +
        `(${fingerprint.slice(0, 12)}); save it again with this model`,
    )
  const { type, layers, kvHeads, headDim, pageBytes } = pool
  const found = [head.kv, head.layers, head.kv_heads, head.head_dim, head.page_bytes].join(' ')
  const wanted = [type, layers, kvHeads, headDim, pageBytes].join(' ')
  if (found !== wanted)
    throw new ForetokenError(
      'wrong_model',
      `the prefix's K and V are ${head.kv} (${found}), and this engine's are ${type} (${wanted}); ` +
        `load the engine with kv ${head.kv}, or save the prefix again`,
    )
  if (!head.ids.every((id) => isWhole(id, 0, vocab - 1)))
    throw bad(`it holds a token outside the vocabulary of ${vocab}`)
}

function bad(why: string): ForetokenError {
  return new ForetokenError('bad_prefix', `not a prefix file: ${why}`)
}
