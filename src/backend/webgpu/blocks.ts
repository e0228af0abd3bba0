/**
 * Converts rows of a file's tensor into words for the shaders, 32 elements at a time; weights.ts
 * describes the layouts. The formats are ggml's, as in the GGUF specification and llama.cpp's
 * `ggml-common.h`.
 */
import { defined } from '../../base/at.ts'
import type { TensorType } from '../../base/model.ts'
import { half, packed } from './binary16.ts'

/** Receives the words of one block of 32 elements; both arrays are reused. */
type Accept = (block: number, numbers: Uint32Array, scales: Uint32Array) => void
type Reader = (view: DataView, at: number, k: number, accept: Accept) => void

/** The quantised elements of a block of 32: q of each element, and d and m of each 16. */
interface Quants {
  readonly q: Int32Array
  readonly d: [number, number]
  readonly m: [number, number]
}

/** Reads each block of 32 of a row by `fill`, and packs it. */
function quantised(bits: 4 | 8, fill: (view: DataView, row: number, block: number, out: Quants) => void): Reader {
  const out: Quants = { q: new Int32Array(32), d: [0, 0], m: [0, 0] }
  const numbers = new Uint32Array(bits)
  const scales = new Uint32Array(bits === 4 ? 1 : 2)
  const perWord = 32 / bits
  const mask = bits === 4 ? 15 : 255
  return (view, at, k, accept) => {
    for (let block = 0; block < k / 32; block++) {
      fill(view, at, block, out)
      for (let word = 0; word < bits; word++) {
        let packedWord = 0
        for (let i = 0; i < perWord; i++) packedWord |= (defined(out.q[word * perWord + i]) & mask) << (i * bits)
        numbers[word] = packedWord
      }
      scales.forEach((_, i) => {
        scales[i] = packed(defined(out.d[i]), defined(out.m[i]))
      })
      accept(block, numbers, scales)
    }
  }
}

function setScale(out: Quants, d: number, m: number): void {
  out.d[0] = out.d[1] = d
  out.m[0] = out.m[1] = m
}

/**
 * Returns a reader for q4_0, q4_1, q5_0 or q5_1: element i is in the low nibble of byte i, element
 * i + 16 in the high one, and fifth bits are in a word before them.
 */
function nibbles(bytes: number, hasMin: boolean, fifth: boolean): Reader {
  return quantised(fifth ? 8 : 4, (view, row, block, out) => {
    const at = row + block * bytes
    const d = half(view, at)
    // Without a minimum the middle is zero; 4-bit words are unsigned, so that it becomes one.
    const middle = hasMin ? 0 : fifth ? 16 : 8
    setScale(out, d, hasMin ? half(view, at + 2) : fifth ? 0 : -8 * d)
    const body = at + (hasMin ? 4 : 2)
    const high = fifth ? view.getUint32(body, true) : 0
    for (let i = 0; i < 32; i++) {
      const byte = view.getUint8(body + (fifth ? 4 : 0) + (i % 16))
      const low = i < 16 ? byte & 15 : byte >> 4
      out.q[i] = fifth ? low + ((high >>> i) & 1) * 16 - middle : low
    }
  })
}

/**
 * Returns a reader for q4_k or q5_k: 256 elements are 8 runs of 32 with 6-bit scales and minima.
 */
function kRuns(bytes: number, fifth: boolean): Reader {
  return quantised(fifth ? 8 : 4, (view, row, block, out) => {
    const at = row + (block >> 3) * bytes
    const run = block & 7
    const six = (i: number) => view.getUint8(at + 4 + i)
    const scale = run < 4 ? six(run) & 63 : (six(run + 4) & 15) | ((six(run - 4) >> 6) << 4)
    const least = run < 4 ? six(run + 4) & 63 : (six(run + 4) >> 4) | ((six(run) >> 6) << 4)
    setScale(out, half(view, at) * scale, -half(view, at + 2) * least)
    const quants = at + 16 + (fifth ? 32 : 0) + (run >> 1) * 32
    for (let i = 0; i < 32; i++) {
      const byte = view.getUint8(quants + i)
      const bit = fifth ? (view.getUint8(at + 16 + i) >> run) & 1 : 0
      out.q[i] = (run % 2 === 0 ? byte & 15 : byte >> 4) + 16 * bit
    }
  })
}

/** Reads q6_k: 256 elements with an int8 scale for each 16. */
const sixes = quantised(8, (view, row, block, out) => {
  const at = row + (block >> 3) * 210
  const run = block & 7
  const d = half(view, at + 208)
  for (const i of [0, 1]) out.d[i] = d * view.getInt8(at + 192 + run * 2 + i)
  const [part, within] = [run >> 2, run & 3]
  for (let i = 0; i < 32; i++) {
    const low = view.getUint8(at + part * 64 + (within % 2) * 32 + i)
    const high = (view.getUint8(at + 128 + part * 32 + i) >> (within * 2)) & 3
    out.q[i] = ((within < 2 ? low & 15 : low >> 4) | (high << 4)) - 32
  }
})

const eights = quantised(8, (view, row, block, out) => {
  const at = row + block * 34
  setScale(out, half(view, at), 0)
  for (let i = 0; i < 32; i++) out.q[i] = view.getInt8(at + 2 + i)
})

/**
 * Returns a reader for elements of 2 or 4 bytes, which stay as they are; a last block is padded
 * with zeros.
 */
function plain(size: 2 | 4): Reader {
  const numbers = new Uint32Array(8 * size)
  const bytes = new Uint8Array(numbers.buffer)
  const scales = new Uint32Array(0)
  return (view, at, k, accept) => {
    for (let block = 0; block * 32 < k; block++) {
      const count = Math.min(32, k - block * 32) * size
      const from = view.byteOffset + at + block * 32 * size
      bytes.fill(0)
      bytes.set(new Uint8Array(view.buffer, from, count))
      accept(block, numbers, scales)
    }
  }
}

export const readers: Readonly<Record<TensorType, Reader>> = {
  f32: plain(4),
  f16: plain(2),
  bf16: plain(2),
  q4_0: nibbles(18, false, false),
  q4_1: nibbles(20, true, false),
  q5_0: nibbles(22, false, true),
  q5_1: nibbles(24, true, true),
  q8_0: eights,
  q4_k: kRuns(144, false),
  q5_k: kRuns(176, true),
  q6_k: sixes,
}
