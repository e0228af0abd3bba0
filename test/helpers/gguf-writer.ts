/** Writes small GGUF files for tests: version 3, little-endian. */
import { type TensorType, tensorBlocks } from '../../src/base/model.ts'

export type Metadata =
  | { readonly u32: number }
  | { readonly u64: bigint }
  | { readonly f32: number }
  | { readonly flag: boolean }
  | { readonly text: string }
  | { readonly texts: readonly string[] }
  | { readonly floats: readonly number[] }
  | { readonly ints: readonly number[] }

export interface WrittenTensor {
  readonly name: string
  readonly type: TensorType
  /** Dimensions, the contiguous one first. */
  readonly dims: readonly number[]
  readonly bytes: Uint8Array
}

const typeNumbers: Record<TensorType, number> = {
  f32: 0,
  f16: 1,
  q4_0: 2,
  q4_1: 3,
  q5_0: 6,
  q5_1: 7,
  q8_0: 8,
  q4_k: 12,
  q5_k: 13,
  q6_k: 14,
  q1_0: 41,
  q2_0: 42,
  q2_k: 10,
  q3_k: 11,
  iq4_nl: 20,
  iq4_xs: 23,
  tq1_0: 34,
  tq2_0: 35,
  mxfp4: 39,
  bf16: 30,
}

export function writeGguf(metadata: Readonly<Record<string, Metadata>>, tensors: readonly WrittenTensor[]): Uint8Array {
  const out = new Writer()
  const sized = tensors.map(({ name, type, dims, bytes }) => ({ name, type, dims, length: bytes.length }))
  out.bytes(ggufHead(metadata, sized))
  for (const { bytes } of tensors) {
    out.bytes(bytes)
    out.pad(32)
  }
  return out.done()
}

/** A tensor whose bytes, `length` of them, are written elsewhere. */
export type ListedTensor = Omit<WrittenTensor, 'bytes'> & { readonly length: number }

/** Returns what comes before the tensors, each of which begins at the next multiple of 32. */
export function ggufHead(
  metadata: Readonly<Record<string, Metadata>>,
  tensors: readonly ListedTensor[],
): Uint8Array<ArrayBuffer> {
  const out = new Writer()
  out.u32(0x46554747)
  out.u32(3)
  out.u64(tensors.length)
  out.u64(Object.keys(metadata).length)
  for (const [key, value] of Object.entries(metadata)) {
    out.text(key)
    writeValue(out, value)
  }
  let offset = 0
  for (const { name, type, dims, length } of tensors) {
    out.text(name)
    out.u32(dims.length)
    for (const dim of dims) out.u64(dim)
    out.u32(typeNumbers[type])
    out.u64(offset)
    offset += Math.ceil(length / 32) * 32
  }
  out.pad(32)
  return out.done()
}

function writeValue(out: Writer, value: Metadata): void {
  if ('u32' in value) {
    out.u32(4)
    out.u32(value.u32)
  } else if ('u64' in value) {
    out.u32(10)
    out.u64(Number(value.u64))
  } else if ('f32' in value) {
    out.u32(6)
    out.f32(value.f32)
  } else if ('flag' in value) {
    out.u32(7)
    out.bytes(Uint8Array.of(value.flag ? 1 : 0))
  } else if ('text' in value) {
    out.u32(8)
    out.text(value.text)
  } else {
    const [type, list] = 'texts' in value ? [8, value.texts] : 'floats' in value ? [6, value.floats] : [5, value.ints]
    out.u32(9)
    out.u32(type)
    out.u64(list.length)
    for (const item of list) {
      if (typeof item === 'string') out.text(item)
      else if (type === 6) out.f32(item)
      else out.u32(item >>> 0)
    }
  }
}

class Writer {
  #bytes = new Uint8Array(1 << 16)
  #length = 0

  u32(value: number): void {
    this.bytes([value & 255, (value >>> 8) & 255, (value >>> 16) & 255, (value >>> 24) & 255])
  }

  u64(value: number): void {
    this.u32(value % 2 ** 32)
    this.u32(Math.floor(value / 2 ** 32))
  }

  f32(value: number): void {
    this.bytes(new Uint8Array(Float32Array.of(value).buffer))
  }

  text(text: string): void {
    const bytes = new TextEncoder().encode(text)
    this.u64(bytes.length)
    this.bytes(bytes)
  }

  bytes(bytes: ArrayLike<number>): void {
    const end = this.#length + bytes.length
    if (end > this.#bytes.length) {
      const longer = new Uint8Array(2 * end)
      longer.set(this.#bytes.subarray(0, this.#length))
      this.#bytes = longer
    }
    this.#bytes.set(bytes, this.#length)
    this.#length = end
  }

  pad(to: number): void {
    this.bytes(new Uint8Array((to - (this.#length % to)) % to))
  }

  done(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#length)
  }
}

/** Returns the size in bytes of a tensor with these dimensions. */
export function tensorBytes(type: TensorType, dims: readonly number[]): number {
  return (dims.reduce((product, dim) => product * dim, 1) / tensorBlocks[type].elements) * tensorBlocks[type].bytes
}
