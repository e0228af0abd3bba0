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

/** Returns number `i` of run `run` of 32: runs of 2 bits, four to 32 bytes, the first in the lowest bits. */
function pair(view: DataView, at: number, run: number, i: number): number {
  return (view.getUint8(at + (run >> 2) * 32 + i) >> ((run & 3) * 2)) & 3
}

/** Reads q2_k: 256 elements with a scale and a minimum of 4 bits for each 16. */
const twos = quantised(8, (view, row, block, out) => {
  const at = row + (block >> 3) * 84
  const run = block & 7
  const [d, least] = [half(view, at + 80), half(view, at + 82)]
  for (const i of [0, 1]) {
    const byte = view.getUint8(at + run * 2 + i)
    out.d[i] = d * (byte & 15)
    out.m[i] = -least * (byte >> 4)
  }
  for (let i = 0; i < 32; i++) out.q[i] = pair(view, at + 16, run, i)
})

/** Reads q3_k: 256 elements with a scale of 6 bits for each 16. */
const threes = quantised(8, (view, row, block, out) => {
  const at = row + (block >> 3) * 110
  const run = block & 7
  const d = half(view, at + 108)
  for (const i of [0, 1]) {
    const scale = run * 2 + i
    const low = view.getUint8(at + 96 + (scale & 7)) >> (scale < 8 ? 0 : 4)
    const high = view.getUint8(at + 104 + (scale & 3)) >> ((scale >> 2) * 2)
    out.d[i] = d * (((low & 15) | ((high & 3) << 4)) - 32)
  }
  for (let i = 0; i < 32; i++) out.q[i] = pair(view, at + 32, run, i) + ((view.getUint8(at + i) >> run) & 1) * 4 - 4
})

/** The numbers that the 4 bits of iq4_nl and iq4_xs stand for, and twice those of mxfp4. */
const uneven = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]
const e2m1 = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12]

function fillByTable(view: DataView, at: number, table: readonly number[], out: Quants): void {
  for (let i = 0; i < 32; i++) {
    const byte = view.getUint8(at + (i % 16))
    out.q[i] = defined(table[i < 16 ? byte & 15 : byte >> 4])
  }
}

const unevenFours = quantised(8, (view, row, block, out) => {
  const at = row + block * 18
  setScale(out, half(view, at), 0)
  fillByTable(view, at + 2, uneven, out)
})

/** Reads iq4_xs: 256 elements with a scale of 6 bits for each 32. */
const unevenRuns = quantised(8, (view, row, block, out) => {
  const at = row + (block >> 3) * 136
  const run = block & 7
  const low = view.getUint8(at + 4 + (run >> 1)) >> ((run & 1) * 4)
  const high = view.getUint16(at + 2, true) >> (run * 2)
  setScale(out, half(view, at) * (((low & 15) | ((high & 3) << 4)) - 32), 0)
  fillByTable(view, at + 8 + run * 16, uneven, out)
})

/** Reads mxfp4: 32 elements with a power of 2 as their scale, of which `e2m1` takes half. */
const powers = quantised(8, (view, row, block, out) => {
  const at = row + block * 17
  setScale(out, 2 ** (view.getUint8(at) - 128), 0)
  fillByTable(view, at + 1, e2m1, out)
})

/**
 * Reads tq1_0. Five digits in base 3 are a byte, as a fraction of 256: multiplied by a power of 3,
 * its first digit is what comes before the point.
 */
const trits = quantised(4, (view, row, block, out) => {
  const at = row + (block >> 3) * 54
  const d = half(view, at + 52)
  setScale(out, d, -d)
  for (let i = 0; i < 32; i++) {
    const element = (block & 7) * 32 + i
    const [byte, digit] =
      element < 160
        ? [i, element >> 5]
        : element < 240
          ? [32 + (element & 15), (element - 160) >> 4]
          : [48 + (element & 3), (element - 240) >> 2]
    out.q[i] = (((view.getUint8(at + byte) * 3 ** digit) & 255) * 3) >> 8
  }
})

/** Returns a reader for q1_0 or q2_0: 16 bytes of numbers of `bits` with one scale, which stand for -d, d and more. */
function few(bits: 1 | 2): Reader {
  const blocks = 4 / bits
  return quantised(4, (view, row, block, out) => {
    const at = row + Math.floor(block / blocks) * 18
    const body = at + 2 + (block % blocks) * 4 * bits
    const d = half(view, at)
    setScale(out, bits === 1 ? 2 * d : d, -d)
    for (let i = 0; i < 32; i++)
      out.q[i] = (view.getUint8(body + ((i * bits) >> 3)) >> ((i * bits) & 7)) & ((1 << bits) - 1)
  })
}

const ternaryPairs = quantised(4, (view, row, block, out) => {
  const at = row + (block >> 3) * 66
  const d = half(view, at + 64)
  setScale(out, d, -d)
  for (let i = 0; i < 32; i++) out.q[i] = pair(view, at, block & 7, i)
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
  q1_0: few(1),
  q2_0: few(2),
  q2_k: twos,
  q3_k: threes,
  iq4_nl: unevenFours,
  iq4_xs: unevenRuns,
  mxfp4: powers,
  tq1_0: trits,
  tq2_0: ternaryPairs,
}
