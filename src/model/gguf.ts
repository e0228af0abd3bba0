/**
 * The head of a GGUF file, versions 2 and 3, little-endian (ggml's docs/gguf.md): metadata and tensor descriptions.
 * Every count and length is checked against the file before anything is made from it.
 */
import { ForetokenError } from '../errors.ts'
import { type ByteSource, type TensorType, tensorBlocks } from '../types.ts'

export type GgufValue = number | boolean | string | readonly number[] | readonly string[] | readonly boolean[]

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

const magic = 0x46554747 // "GGUF"
const maxTensors = 65_536
const maxMetadata = 65_536
const maxDepth = 4
/** The head grows to this before it is refused. */
const maxHead = 256 << 20

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

/** Reads the head. Throws `bad_model` for a malformed file and `unsupported` for a tensor type that we don't have. */
export async function readGguf(source: ByteSource): Promise<Gguf> {
  for (let bytes = Math.min(source.size, 4 << 20); ; bytes = Math.min(source.size, bytes * 2)) {
    const head = new Uint8Array(bytes)
    await source.read(0, head)
    const reader = new Reader(source, head)
    try {
      return parse(reader)
    } catch (error) {
      if (!(error instanceof Short)) throw error
      if (bytes === source.size) throw reader.bad(`is truncated: ${source.size} bytes end inside its head`)
      if (bytes >= maxHead) throw reader.bad(`has a head of more than ${maxHead} bytes`)
    }
  }
}

function parse(reader: Reader): Gguf {
  if (reader.source.size < 24 || reader.u32() !== magic) throw reader.bad('is not a GGUF file')
  const version = reader.u32()
  if (version !== 2 && version !== 3)
    throw new ForetokenError('unsupported', `${reader.source.name}: GGUF version ${version}; versions 2 and 3 are read`)
  const tensorCount = reader.count('tensors', maxTensors, 24)
  const metadataCount = reader.count('metadata entries', maxMetadata, 13)
  const metadata = new Map<string, GgufValue>()
  for (let i = 0; i < metadataCount; i++) {
    const key = reader.string()
    if (metadata.has(key)) throw reader.bad(`has the metadata key ${show(key)} twice`)
    metadata.set(key, reader.value(reader.u32(), key, 0))
  }
  const described = Array.from({ length: tensorCount }, () => reader.tensor())
  return { metadata, tensors: place(reader, described, metadata.get('general.alignment') ?? 32) }
}

/** Turns offsets within the data into offsets in the file, and checks that the tensors lie in it, apart. */
function place(reader: Reader, described: readonly GgufTensor[], alignment: GgufValue): GgufTensor[] {
  if (typeof alignment !== 'number' || alignment < 8 || alignment > 1 << 20 || alignment % 8 !== 0)
    throw reader.bad(`has an alignment of ${String(alignment)}`)
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

/** Thrown where the part of the head that was read ends. */
class Short extends Error {}

class Reader {
  readonly source: ByteSource
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #text = new TextDecoder('utf-8', { fatal: true })
  at = 0

  constructor(source: ByteSource, bytes: Uint8Array) {
    this.source = source
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  bad(what: string): ForetokenError {
    return new ForetokenError('bad_model', `${this.source.name} ${what}`)
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true)
  }

  /** A 64-bit count of things that take at least `least` bytes each. */
  count(what: string, limit: number, least: number): number {
    const count = this.u64(what)
    if (count > limit || count * least > this.source.size - this.at)
      throw this.bad(
        `says it has ${count} ${what}; its ${this.source.size} bytes can't hold them, or ${limit} is the limit`,
      )
    return count
  }

  u64(what: string): number {
    const at = this.#take(8)
    const value = this.#view.getUint32(at, true) + this.#view.getUint32(at + 4, true) * 2 ** 32
    if (!Number.isSafeInteger(value)) throw this.bad(`has ${what} of ${value}`)
    return value
  }

  string(): string {
    const length = this.count('bytes of a string', 1 << 30, 1)
    const at = this.#take(length)
    try {
      return this.#text.decode(this.#bytes.subarray(at, at + length))
    } catch {
      throw this.bad(`has a string at byte ${at} that is not UTF-8`)
    }
  }

  value(type: number, key: string, depth: number): GgufValue {
    const view = this.#view
    switch (type) {
      case 0:
        return view.getUint8(this.#take(1))
      case 1:
        return view.getInt8(this.#take(1))
      case 2:
        return view.getUint16(this.#take(2), true)
      case 3:
        return view.getInt16(this.#take(2), true)
      case 4:
        return this.u32()
      case 5:
        return view.getInt32(this.#take(4), true)
      case 6:
        return view.getFloat32(this.#take(4), true)
      case 7:
        return view.getUint8(this.#take(1)) !== 0
      case 8:
        return this.string()
      case 9:
        return this.#array(key, depth)
      case 10:
        return this.u64(show(key))
      case 11: {
        const value = Number(view.getBigInt64(this.#take(8), true))
        if (!Number.isSafeInteger(value)) throw this.bad(`has ${show(key)} of ${value}`)
        return value
      }
      case 12:
        return view.getFloat64(this.#take(8), true)
      default:
        throw this.bad(`has ${show(key)} of the unknown type ${type}`)
    }
  }

  tensor(): GgufTensor {
    const name = this.string()
    const rank = this.u32()
    if (rank < 1 || rank > 4) throw this.bad(`tensor ${show(name)} has ${rank} dimensions`)
    const dims = Array.from({ length: rank }, () => this.u64(`a dimension of ${show(name)}`))
    const number = this.u32()
    const offset = this.u64(`the offset of ${show(name)}`)
    const type = typeNumbers[number]
    if (!type)
      throw new ForetokenError(
        'unsupported',
        `${this.source.name}: tensor ${show(name)} has ggml type ${number}; ${Object.values(typeNumbers).join(', ')} are read`,
      )
    const block = tensorBlocks[type]
    const elements = dims.reduce((product, dim) => product * dim, 1)
    const bytes = (elements / block.elements) * block.bytes
    if (
      !Number.isSafeInteger(elements) ||
      elements === 0 ||
      dims[0]! % block.elements !== 0 ||
      bytes > this.source.size
    )
      throw this.bad(`tensor ${show(name)} of ${dims.join(' x ')} ${type} does not fit in ${this.source.size} bytes`)
    return { name, type, dims, offset, bytes }
  }

  #array(key: string, depth: number): GgufValue {
    if (depth >= maxDepth) throw this.bad(`has arrays nested ${depth} deep in ${show(key)}`)
    const type = this.u32()
    const count = this.count(`elements of ${show(key)}`, 1 << 24, type === 8 || type === 9 ? 8 : 1)
    const values: GgufValue[] = []
    for (let i = 0; i < count; i++) values.push(this.value(type, key, depth + 1))
    return values as unknown as GgufValue
  }

  #take(bytes: number): number {
    const at = this.at
    if (at + bytes > this.#bytes.length) throw new Short()
    this.at = at + bytes
    return at
  }
}

/** A name from a file, short and printable. */
function show(name: string): string {
  return JSON.stringify(name.length > 80 ? `${name.slice(0, 77)}...` : name)
}
