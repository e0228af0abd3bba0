/**
 * Stores the K and V of chunks in one file, so that they are computed once and shipped with an app.
 *
 *     0   8 bytes   "FTCHUNKS"
 *     8   u32       version, 1
 *     12  u32       size of the head in bytes, a multiple of 64
 *     16  32 bytes  SHA-256 of the head
 *     48  16 bytes  0
 *     64            head: JSON in UTF-8, padded with spaces
 *                   chunks, in order: each layer's K and V, (tokens, 2 kvHeads * headDim), in binary16
 *
 * Numbers are little-endian. K and V are those of `ChunkStore`: before norm and rotation, so that
 * pages of any type take them, and at any place. The head has the SHA-256 of each chunk, so that
 * chunks are read, checked and kept one by one, without the whole file in memory. Sizes are checked
 * against the file's size before anything is allocated. `fingerprint` binds K and V to the weights.
 */
import { at } from '../base/at.ts'
import type { ByteSource } from '../base/bytes.ts'
import { ForetokenError } from '../base/errors.ts'
import { sha256Hex } from '../base/hash.ts'
import { isWhole } from '../base/numbers.ts'

/** A chunk in memory: its tokens, and its K and V, (layers) of (tokens, width). */
export interface SavedChunk {
  readonly ids: readonly number[]
  readonly layers: readonly Uint16Array[]
}

/** The model that chunks are valid for. */
export interface ChunkBinding {
  /** Name of the model, for messages. */
  readonly model: string
  readonly fingerprint: string
  readonly vocab: number
  /** Values of K and V together that a layer has for a token, (layers). */
  readonly widths: readonly number[]
}

/** A file whose head has been checked. */
export interface ChunkFile {
  /** The tokens of each chunk. */
  readonly chunks: readonly { readonly ids: readonly number[] }[]
  /** Bytes of K and V of all chunks. */
  readonly bytes: number
  /** Reads one. Rejects with `checksum`, and with `bad_prefix` for numbers that are not finite. */
  read(index: number): Promise<SavedChunk>
}

interface Head {
  readonly model: string
  readonly fingerprint: string
  readonly widths: readonly number[]
  readonly chunks: readonly { readonly ids: readonly number[]; readonly sha256: string }[]
}

const magic = new TextEncoder().encode('FTCHUNKS')
const version = 1
const headAt = 64
/** Largest head: three million tokens. */
const mostHead = 16 << 20

/** Returns whether a file begins as one of chunks does. */
export function isChunkFile(beginning: Uint8Array): boolean {
  return magic.every((byte, index) => beginning[index] === byte)
}

/** Returns the bytes of a file of chunks. */
export async function encodeChunks(
  chunks: readonly SavedChunk[],
  { model, fingerprint, widths }: ChunkBinding,
): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Uint8Array<ArrayBuffer>[] = []
  const listed: { readonly ids: readonly number[]; readonly sha256: string }[] = []
  for (const { ids, layers } of chunks) {
    const bytes = new Uint8Array(bytesOf(ids.length, widths))
    let end = 0
    for (const layer of layers) {
      bytes.set(new Uint8Array(layer.buffer, layer.byteOffset, layer.byteLength), end)
      end += layer.byteLength
    }
    listed.push({ ids, sha256: await sha256Hex(bytes) })
    parts.push(bytes)
  }
  const head = await headOf({ model, fingerprint, widths, chunks: listed })
  const file = new Uint8Array(head.length + parts.reduce((sum, { length }) => sum + length, 0))
  file.set(head)
  let end = head.length
  for (const part of parts) {
    file.set(part, end)
    end += part.length
  }
  return file
}

/**
 * Checks the head of a file that `encodeChunks` wrote for the same model. Rejects with `bad_prefix` for
 * anything else or another version, `checksum` for a damaged head, `wrong_model` for chunks of another
 * model, and what reading rejects with.
 */
export async function openChunks(source: ByteSource, binding: ChunkBinding): Promise<ChunkFile> {
  const { head, end } = await readHead(source)
  checkHead(head, source.size - end)
  const { chunks, widths } = head
  if (head.fingerprint !== binding.fingerprint || widths.join() !== binding.widths.join())
    throw new ForetokenError(
      'wrong_model',
      `the chunks were computed by ${head.model} (${String(head.fingerprint).slice(0, 12)}), and this is ${binding.model} ` +
        `(${binding.fingerprint.slice(0, 12)}); save them again with this model`,
    )
  for (const { ids } of chunks)
    if (!ids.every((id) => isWhole(id, 0, binding.vocab - 1)))
      throw bad(`it holds a token outside the vocabulary of ${binding.vocab}`)
  const places: number[] = []
  let bytes = 0
  for (const { ids } of chunks) {
    places.push(end + bytes)
    bytes += bytesOf(ids.length, widths)
  }
  const read = async (index: number) => {
    const { ids, sha256 } = at(chunks, index)
    const halves = new Uint16Array(bytesOf(ids.length, widths) / 2)
    const raw = new Uint8Array(halves.buffer)
    await source.read(at(places, index), raw)
    if ((await sha256Hex(raw)) !== sha256)
      throw new ForetokenError('checksum', `${source.name} is damaged: the SHA-256 of chunk ${index} does not match`)
    // The exponent of infinity and of what is not a number.
    if (halves.some((half) => (half & 0x7c00) === 0x7c00)) throw bad(`chunk ${index} has numbers that are not finite`)
    let first = 0
    const layers = widths.map((width) => halves.subarray(first, (first += ids.length * width)))
    return { ids, layers }
  }
  return { chunks, bytes, read }
}

/**
 * Yields a file of chunks as it is, but bound to other weights: those of the same model in another
 * form, such as with a vocabulary in fewer bits.
 */
export async function* reboundChunks(source: ByteSource, fingerprint: string): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  const { head, end } = await readHead(source)
  yield headOf({ ...head, fingerprint })
  for (let from = end; from < source.size; from += 1 << 20) {
    const piece = new Uint8Array(Math.min(1 << 20, source.size - from))
    await source.read(from, piece)
    yield piece
  }
}

function bytesOf(tokens: number, widths: readonly number[]): number {
  return 2 * tokens * widths.reduce((sum, width) => sum + width, 0)
}

/** Returns a head with what stands before it. */
async function headOf(head: Head): Promise<Uint8Array<ArrayBuffer>> {
  const text = new TextEncoder().encode(JSON.stringify(head))
  const bytes = new Uint8Array(headAt + Math.ceil(text.length / 64) * 64)
  if (bytes.length - headAt > mostHead)
    throw new ForetokenError('bad_argument', `the chunks have too many tokens for one file: save fewer in each`)
  bytes.fill(0x20, headAt)
  bytes.set(text, headAt)
  bytes.set(magic)
  const view = new DataView(bytes.buffer)
  view.setUint32(8, version, true)
  view.setUint32(12, bytes.length - headAt, true)
  bytes.set(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes.subarray(headAt))), 16)
  return bytes
}

async function readHead(source: ByteSource): Promise<{ readonly head: Head; readonly end: number }> {
  const { name, size } = source
  if (size < headAt) throw bad(`${name} has ${size} bytes`)
  const begin = new Uint8Array(headAt)
  await source.read(0, begin)
  if (!isChunkFile(begin)) throw bad(`${name} does not begin with "FTCHUNKS"`)
  const view = new DataView(begin.buffer)
  const found = view.getUint32(8, true)
  if (found !== version)
    throw bad(`it has version ${found}, and this foretoken reads ${version}; save it again with this one`)
  const headBytes = view.getUint32(12, true)
  const end = headAt + headBytes
  if (end > size || headBytes > mostHead) throw bad(`its head has ${headBytes} bytes and the file ${size}`)
  const text = new Uint8Array(headBytes)
  await source.read(headAt, text)
  const hash = Array.from(begin.subarray(16, 48), (byte) => byte.toString(16).padStart(2, '0')).join('')
  if ((await sha256Hex(text)) !== hash)
    throw new ForetokenError('checksum', `${name} is damaged: the SHA-256 of its head does not match; save it again`)
  try {
    const head: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(text))
    if (typeof head !== 'object' || head === null) throw new Error('it is not an object')
    return { head: head as Head, end }
  } catch (cause) {
    throw new ForetokenError(
      'bad_prefix',
      `not a file of chunks: its head can't be read: ${(cause as Error).message}`,
      {
        cause,
      },
    )
  }
}

/** Throws `bad_prefix` unless a head describes exactly `bytes`, so that no head can claim more than there is. */
function checkHead({ widths, chunks }: Head, bytes: number): void {
  const isList = (value: unknown): value is readonly unknown[] => Array.isArray(value)
  if (!isList(widths) || widths.length === 0 || !widths.every((width) => isWhole(width, 1, 1 << 24)))
    throw bad('its head does not describe its layers')
  if (!isList(chunks) || chunks.length === 0) throw bad('its head does not describe its chunks')
  let expected = 0
  for (const chunk of chunks as readonly unknown[]) {
    const { ids, sha256 } = (chunk ?? {}) as Partial<Head['chunks'][number]>
    if (!isList(ids) || ids.length === 0 || typeof sha256 !== 'string')
      throw bad('its head does not describe its chunks')
    expected += bytesOf(ids.length, widths)
  }
  if (expected !== bytes) throw bad(`it has ${bytes} bytes of K and V, and its head describes ${expected}`)
}

function bad(why: string): ForetokenError {
  return new ForetokenError('bad_prefix', `not a file of chunks: ${why}`)
}
