/**
 * Implements ggml's block formats from their definition: random valid blocks, and the numbers that
 * they stand for. It is the oracle for every repacking and every product with quantised weights.
 */
import type { Weight, WeightWriter } from '../../src/backend/backend.ts'
import { type TensorType, tensorBlocks } from '../../src/base/model.ts'
import type { Random } from './random.ts'

/** Returns a weight with these file bytes, read in pieces of at most `piece()` bytes. */
export function written(writer: WeightWriter, bytes: Uint8Array, piece = () => bytes.length): Weight {
  for (let at = 0; at < bytes.length; ) {
    const into = writer.reserve(Math.min(piece(), bytes.length - at))
    into.set(bytes.subarray(at, at + into.length))
    writer.commit(into.length)
    at += into.length
  }
  return writer.finish()
}

/** Returns random rows of `type`, with random quants and moderate scales. */
export function randomBlocks(type: TensorType, elements: number, random: Random): Uint8Array {
  const { elements: per, bytes: size } = tensorBlocks[type]
  const count = elements / per
  const bytes = random.bytes(count * size)
  const view = new DataView(bytes.buffer)
  for (let block = 0; block < count; block++) {
    const at = block * size
    const scale = (spread: number) => toHalf((0.2 + random.unit()) * spread * (random.unit() < 0.5 ? -1 : 1))
    if (type === 'f32') view.setFloat32(at, random.normal(), true)
    if (type === 'f16') view.setUint16(at, toHalf(random.normal()), true)
    if (type === 'bf16') view.setUint16(at, new Uint32Array(Float32Array.of(random.normal()).buffer)[0]! >>> 16, true)
    if (type === 'q4_0' || type === 'q5_0' || type === 'q8_0') view.setUint16(at, scale(0.02), true)
    if (type === 'q6_k') view.setUint16(at + 208, scale(0.0002), true)
    if (type === 'q1_0' || type === 'q2_0') view.setUint16(at, scale(0.1), true)
    if (type === 'iq4_nl') view.setUint16(at, scale(0.003), true)
    if (type === 'iq4_xs') view.setUint16(at, scale(0.0002), true)
    if (type === 'mxfp4') bytes[at] = 119 + random.below(4)
    if (type === 'tq1_0') view.setUint16(at + 52, scale(0.1), true)
    if (type === 'tq2_0') view.setUint16(at + 64, scale(0.1), true)
    if (type === 'q3_k') view.setUint16(at + 108, scale(0.001), true)
    if (type === 'q2_k') {
      view.setUint16(at + 80, scale(0.004), true)
      view.setUint16(at + 82, scale(0.008), true)
    }
    if (type === 'q4_1' || type === 'q5_1' || type === 'q4_k' || type === 'q5_k') {
      const small = type.endsWith('k') ? 0.0004 : 0.02
      view.setUint16(at, scale(small), true)
      view.setUint16(at + 2, scale(small * 8), true)
    }
  }
  return bytes
}

/** Returns the numbers that rows of `type` stand for. */
export function dequantize(type: TensorType, bytes: Uint8Array): Float64Array {
  const { elements: per, bytes: size } = tensorBlocks[type]
  const count = bytes.length / size
  const out = new Float64Array(count * per)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  for (let block = 0; block < count; block++)
    readBlock[type](view, block * size, out.subarray(block * per, (block + 1) * per))
  return out
}

type Reader = (view: DataView, at: number, out: Float64Array) => void

const half = (view: DataView, at: number) => fromHalf(view.getUint16(at, true))

/**
 * Decodes q4_0, q4_1, q5_0 and q5_1: element i is the low nibble of byte i, element i + 16 the high
 * one, and fifth bits are separate.
 */
function nibbles(offset: number, hasMin: boolean, fifth: boolean): Reader {
  return (view, at, out) => {
    const d = half(view, at)
    const m = hasMin ? half(view, at + 2) : 0
    const body = at + (hasMin ? 4 : 2)
    const high = fifth ? view.getUint32(body, true) : 0
    const quants = body + (fifth ? 4 : 0)
    for (let i = 0; i < 32; i++) {
      const byte = view.getUint8(quants + (i % 16))
      const low = i < 16 ? byte & 15 : byte >> 4
      out[i] = (low + ((high >>> i) & 1) * 16 - offset) * d + m
    }
  }
}

/** Decodes q4_k and q5_k: 8 sub-blocks of 32 with 6-bit scales and minima. */
function kQuants(fifth: boolean): Reader {
  return (view, at, out) => {
    const d = half(view, at)
    const least = half(view, at + 2)
    const packed = (i: number) => view.getUint8(at + 4 + i)
    const high = at + 16
    const quants = fifth ? high + 32 : high
    for (let sub = 0; sub < 8; sub++) {
      const scale = sub < 4 ? packed(sub) & 63 : (packed(sub + 4) & 15) | ((packed(sub - 4) >> 6) << 4)
      const min = sub < 4 ? packed(sub + 4) & 63 : (packed(sub + 4) >> 4) | ((packed(sub) >> 6) << 4)
      for (let i = 0; i < 32; i++) {
        const byte = view.getUint8(quants + (sub >> 1) * 32 + i)
        const nibble = sub % 2 === 0 ? byte & 15 : byte >> 4
        const bit = fifth ? (view.getUint8(high + i) >> sub) & 1 : 0
        out[sub * 32 + i] = d * scale * (nibble + 16 * bit) - least * min
      }
    }
  }
}

const uneven = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]
const e2m1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0, -0.5, -1, -1.5, -2, -3, -4, -6]

/** Returns bits `from`..`from + count` - 1 of the byte at `at`. */
const bits = (view: DataView, at: number, from: number, count: number) =>
  (view.getUint8(at) >> from) & ((1 << count) - 1)

/** Element `i` of 256 in 2 bits: four runs of 32 share 32 bytes. */
const pair = (view: DataView, at: number, i: number) => bits(view, at + (i >> 7) * 32 + (i & 31), ((i >> 5) & 3) * 2, 2)

/** Nibble `i` of 32: the low ones of 16 bytes, then the high ones. */
const nibble = (view: DataView, at: number, i: number) => bits(view, at + (i & 15), i < 16 ? 0 : 4, 4)

const readBlock: Record<TensorType, Reader> = {
  iq4_nl: (view, at, out) => {
    for (let i = 0; i < 32; i++) out[i] = half(view, at) * uneven[nibble(view, at + 2, i)]!
  },
  mxfp4: (view, at, out) => {
    for (let i = 0; i < 32; i++) out[i] = 2 ** (view.getUint8(at) - 127) * e2m1[nibble(view, at + 1, i)]!
  },
  iq4_xs: (view, at, out) => {
    for (let i = 0; i < 256; i++) {
      const run = i >> 5
      const scale =
        bits(view, at + 4 + (run >> 1), (run & 1) * 4, 4) + 16 * ((view.getUint16(at + 2, true) >> (2 * run)) & 3)
      out[i] = half(view, at) * (scale - 32) * uneven[nibble(view, at + 8 + run * 16, i & 31)]!
    }
  },
  q1_0: (view, at, out) => {
    for (let i = 0; i < 128; i++) out[i] = half(view, at) * (2 * bits(view, at + 2 + (i >> 3), i & 7, 1) - 1)
  },
  q2_0: (view, at, out) => {
    for (let i = 0; i < 64; i++) out[i] = half(view, at) * (bits(view, at + 2 + (i >> 2), (i & 3) * 2, 2) - 1)
  },
  q2_k: (view, at, out) => {
    for (let i = 0; i < 256; i++) {
      const [scale, least] = [bits(view, at + (i >> 4), 0, 4), bits(view, at + (i >> 4), 4, 4)]
      out[i] = half(view, at + 80) * scale * pair(view, at + 16, i) - half(view, at + 82) * least
    }
  },
  q3_k: (view, at, out) => {
    for (let i = 0; i < 256; i++) {
      const group = i >> 4
      const low = bits(view, at + 96 + (group & 7), group < 8 ? 0 : 4, 4)
      const scale = low + 16 * bits(view, at + 104 + (group & 3), (group >> 2) * 2, 2) - 32
      out[i] = half(view, at + 108) * scale * (pair(view, at + 32, i) - 4 + 4 * bits(view, at + (i & 31), i >> 5, 1))
    }
  },
  tq1_0: (view, at, out) => {
    for (let i = 0; i < 256; i++) {
      // 160 digits are in 32 bytes, 80 in the next 16, and 16 in the last 4.
      const [byte, digit] =
        i < 160 ? [i % 32, i / 32] : i < 240 ? [32 + (i % 16), (i - 160) / 16] : [48 + (i % 4), (i - 240) / 4]
      const fraction = (view.getUint8(at + byte) * 3 ** Math.floor(digit)) % 256
      out[i] = half(view, at + 52) * (Math.floor((fraction * 3) / 256) - 1)
    }
  },
  tq2_0: (view, at, out) => {
    for (let i = 0; i < 256; i++) out[i] = half(view, at + 64) * (pair(view, at, i) - 1)
  },
  f32: (view, at, out) => {
    out[0] = view.getFloat32(at, true)
  },
  f16: (view, at, out) => {
    out[0] = half(view, at)
  },
  bf16: (view, at, out) => {
    out[0] = new Float32Array(Uint32Array.of(view.getUint16(at, true) << 16).buffer)[0]!
  },
  q4_0: nibbles(8, false, false),
  q4_1: nibbles(0, true, false),
  q5_0: nibbles(16, false, true),
  q5_1: nibbles(0, true, true),
  q8_0: (view, at, out) => {
    for (let i = 0; i < 32; i++) out[i] = view.getInt8(at + 2 + i) * half(view, at)
  },
  q4_k: kQuants(false),
  q5_k: kQuants(true),
  q6_k: (view, at, out) => {
    const d = half(view, at + 208)
    for (let i = 0; i < 256; i++) {
      const part = i >> 7 // two halves of 128
      const run = (i >> 5) & 3 // four runs of 32 in a half
      const l = i & 31
      const low = view.getUint8(at + part * 64 + (run % 2) * 32 + l)
      const nibble = run < 2 ? low & 15 : low >> 4
      const high = (view.getUint8(at + 128 + part * 32 + l) >> (run * 2)) & 3
      out[i] = d * view.getInt8(at + 192 + (i >> 4)) * ((nibble | (high << 4)) - 32)
    }
  },
}

export function fromHalf(bits: number): number {
  const exponent = (bits >> 10) & 31
  const fraction = bits & 1023
  const value = exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25)
  return bits & 0x8000 ? -value : value
}

/** Returns the binary16 nearest to a finite number within its range, ties to even. */
export function toHalf(value: number): number {
  const sign = value < 0 ? 0x8000 : 0
  const size = Math.abs(value)
  const exponent = Math.max(-14, Math.floor(Math.log2(size || 2 ** -30)))
  const scaled = size / 2 ** (exponent - 10)
  const nearest = Math.round(scaled)
  const steps = nearest - scaled === 0.5 ? nearest - (nearest % 2) : nearest
  if (exponent === -14 && steps < 1024) return sign | steps
  return steps === 2048 ? sign | ((exponent + 16) << 10) : sign | ((exponent + 15) << 10) | (steps - 1024)
}
