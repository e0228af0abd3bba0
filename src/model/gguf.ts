/**
 * The head of a GGUF file, versions 2 and 3, little-endian (ggml's docs/gguf.md): metadata and
 * tensor descriptions. Every count and length is checked against the file before anything is made
 * from it, and a list becomes objects only when it is asked for: a list that nobody needs costs
 * nothing.
 */

import { defined } from '../base/at.ts'
import type { ByteSource } from '../base/bytes.ts'
import { ForetokenError } from '../base/errors.ts'
import { type PackedTexts, type TensorType, tensorBlocks } from '../base/model.ts'
import { GgufReader, scalarBytes } from './gguf-reader.ts'
import { show } from './json.ts'
import { limits } from './limits.ts'

/** A list in the metadata, read on demand. */
export interface GgufList {
  readonly count: number
  /**
   * Returns its texts; undefined if it holds something else. Throws `bad_model` for a text above
   * `limit` bytes, and for texts longer than the limit in all.
   */
  texts(limit: number): Promise<PackedTexts | undefined>
  /** Returns its numbers; undefined if it holds something else. */
  numbers(): Promise<ArrayLike<number> | undefined>
}

export type GgufValue = number | boolean | string | GgufList

export interface GgufTensor {
  readonly name: string
  readonly type: TensorType
  /** Elements of each dimension, the contiguous one first. */
  readonly dims: readonly number[]
  /** From the start of the file. */
  readonly offset: number
  readonly bytes: number
}

export interface Gguf {
  readonly metadata: ReadonlyMap<string, GgufValue>
  readonly tensors: readonly GgufTensor[]
}

/** "GGUF", and the same as a machine of the other byte order may write it. */
const magic = 0x46554747
const swappedMagic = 0x47475546
const maxDepth = 4
const [textType, listType] = [8, 9]

/** ggml's numbers of the tensor types that we read. */
const typeNumbers: Readonly<Record<number, TensorType>> = {
  0: 'f32',
  1: 'f16',
  2: 'q4_0',
  3: 'q4_1',
  6: 'q5_0',
  7: 'q5_1',
  8: 'q8_0',
  12: 'q4_k',
  13: 'q5_k',
  14: 'q6_k',
  30: 'bf16',
}

/**
 * Reads the head. Throws `bad_model` for a malformed file and `unsupported` for a byte order,
 * version or tensor type that we don't have.
 */
export async function readGguf(source: ByteSource): Promise<Gguf> {
  const reader = new GgufReader(source)
  if (source.size < 24) throw reader.bad('is not a GGUF file')
  await reader.need(24)
  readVersion(reader)
  const tensorCount = reader.count('tensors', limits.tensors, 24)
  const metadataCount = reader.count('metadata entries', limits.ggufEntries, 13)
  const metadata = new Map<string, GgufValue>()
  for (let i = 0; i < metadataCount; i++) {
    const key = await reader.string(limits.name)
    if (metadata.has(key)) throw reader.bad(`has the metadata key ${show(key)} twice`)
    await reader.need(4)
    metadata.set(key, await readValue(reader, reader.u32(), key))
  }
  const described: GgufTensor[] = []
  for (let i = 0; i < tensorCount; i++) described.push(await readTensor(reader))
  return { metadata, tensors: place(reader, described, metadata.get('general.alignment') ?? 32) }
}

function readVersion(reader: GgufReader): void {
  const { name } = reader.source
  const found = reader.u32()
  const version = reader.u32()
  const swapped = ((version & 0xff) << 24) | ((version & 0xff00) << 8) | ((version >>> 8) & 0xff00) | (version >>> 24)
  if (found === swappedMagic || (found === magic && swapped > 0 && swapped < 256 && version > 0xffff))
    throw new ForetokenError(
      'unsupported',
      `${name} is a big-endian GGUF, and little-endian ones are read; get that one, or convert it with gguf_convert_endian.py of llama.cpp`,
    )
  if (found !== magic) throw reader.bad('is not a GGUF file')
  if (version !== 2 && version !== 3)
    throw new ForetokenError('unsupported', `${name}: GGUF version ${version}; versions 2 and 3 are read`)
}

async function readValue(reader: GgufReader, type: number, key: string): Promise<GgufValue> {
  if (type === textType) return reader.string(limits.ggufText)
  if (type === listType) return readList(reader, key)
  const bytes = scalarBytes[type]
  if (bytes === undefined) throw reader.bad(`has ${show(key)} of the unknown type ${type}`)
  await reader.need(bytes)
  return reader.scalar(type, key)
}

/** Skips a list and records its place. */
async function readList(reader: GgufReader, key: string): Promise<GgufList> {
  await reader.need(12)
  const type = reader.u32()
  const count = reader.count(`elements of ${show(key)}`, limits.ggufHead, leastBytes(type))
  const at = reader.at
  await skipElements(reader, type, count, key, 0)
  const bytes = reader.at - at
  const again = async <T>(read: () => Promise<T>): Promise<T> => {
    const end = reader.at
    reader.at = at
    try {
      return await read()
    } finally {
      reader.at = end
    }
  }
  return {
    count,
    async texts(limit) {
      if (type !== textType) return undefined
      if (bytes - 8 * count > limits.tokenText)
        throw reader.bad(`has ${bytes - 8 * count} bytes of text in ${show(key)}; at most ${limits.tokenText} are read`)
      return again(() => reader.texts(count, limit, bytes - 8 * count))
    },
    async numbers() {
      if (type === 7 || scalarBytes[type] === undefined) return undefined
      return again(async () => {
        await reader.need(bytes)
        return reader.numbers(type, count, key)
      })
    },
  }
}

async function skipElements(
  reader: GgufReader,
  type: number,
  count: number,
  key: string,
  depth: number,
): Promise<void> {
  const bytes = scalarBytes[type]
  if (bytes !== undefined) return reader.skip(bytes * count)
  if (type !== textType && type !== listType) throw reader.bad(`has ${show(key)} of the unknown type ${type}`)
  if (type === listType && depth + 1 >= maxDepth)
    throw reader.bad(`has arrays nested more than ${maxDepth} deep in ${show(key)}`)
  reader.countElements(count)
  for (let left = type === textType ? reader.skipTexts(count) : count; left > 0; left--) {
    if (!reader.has(12)) await reader.need(type === textType ? 8 : 12)
    if (type === textType) {
      reader.skip(reader.u64('bytes of a text'))
      left = reader.skipTexts(left - 1) + 1
    } else {
      const inner = reader.u32()
      await skipElements(
        reader,
        inner,
        reader.count(`elements of ${show(key)}`, limits.ggufHead, leastBytes(inner)),
        key,
        depth + 1,
      )
    }
  }
}

function leastBytes(type: number): number {
  return type === textType ? 8 : type === listType ? 12 : 1
}

async function readTensor(reader: GgufReader): Promise<GgufTensor> {
  const { source } = reader
  const name = await reader.string(limits.name)
  await reader.need(4)
  const rank = reader.u32()
  if (rank < 1 || rank > 4) throw reader.bad(`tensor ${show(name)} has ${rank} dimensions`)
  await reader.need(rank * 8 + 12)
  const dims = Array.from({ length: rank }, () => reader.u64(`a dimension of ${show(name)}`))
  const number = reader.u32()
  const offset = reader.u64(`the offset of ${show(name)}`)
  const type = typeNumbers[number]
  if (!type)
    throw new ForetokenError(
      'unsupported',
      `${source.name}: tensor ${show(name)} has ggml type ${number}; ${Object.values(typeNumbers).join(', ')} are read`,
    )
  const block = tensorBlocks[type]
  const elements = dims.reduce((product, dim) => product * dim, 1)
  const bytes = (elements / block.elements) * block.bytes
  if (
    !Number.isSafeInteger(elements) ||
    elements === 0 ||
    defined(dims[0]) % block.elements !== 0 ||
    bytes > source.size
  )
    throw reader.bad(`tensor ${show(name)} of ${dims.join(' x ')} ${type} does not fit in ${source.size} bytes`)
  return { name, type, dims, offset, bytes }
}

/**
 * Turns offsets within the data into offsets in the file, and checks that the tensors lie in it,
 * apart.
 */
function place(reader: GgufReader, described: readonly GgufTensor[], alignment: GgufValue): GgufTensor[] {
  if (typeof alignment !== 'number' || !(alignment >= 8 && alignment <= 1 << 20) || alignment % 8 !== 0)
    throw reader.bad(`has an alignment of ${show(alignment)}`)
  const data = Math.ceil(reader.at / alignment) * alignment
  const names = new Set<string>()
  const tensors = described.map((tensor) => {
    if (names.has(tensor.name)) throw reader.bad(`has the tensor ${show(tensor.name)} twice`)
    names.add(tensor.name)
    if (tensor.offset % alignment !== 0)
      throw reader.bad(`tensor ${show(tensor.name)} begins at ${tensor.offset}, which is not aligned to ${alignment}`)
    const offset = data + tensor.offset
    if (!Number.isSafeInteger(offset) || offset + tensor.bytes > reader.source.size)
      throw reader.bad(
        `tensor ${show(tensor.name)} needs bytes ${offset}..${offset + tensor.bytes} of a file of ${reader.source.size}; ` +
          'the file may be cut off: get it again',
      )
    return { ...tensor, offset }
  })
  const ordered = [...tensors].sort((a, b) => a.offset - b.offset)
  ordered.forEach((tensor, i) => {
    const before = ordered[i - 1]
    if (before && before.offset + before.bytes > tensor.offset)
      throw reader.bad(`tensors ${show(before.name)} and ${show(tensor.name)} overlap`)
  })
  return tensors
}
