/** KV pages as the real modules write them, bit for bit, on the values where conversions go wrong. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { kernelsOf } from '../../src/backend/wasm/abi.ts'
import { random } from '../helpers/random.ts'

const headDim = 8
const seed = 41

/** Rows of k and v, (rows, 2 * headDim): powers of two and their neighbours, ties, extremes, then random values. */
function rows(): Float32Array {
  const words = new Uint32Array(1)
  const float = new Float32Array(words.buffer)
  const values: number[] = [0, -0, 65504, 65519.9, 65520, 1e9, Number.POSITIVE_INFINITY, Number.NaN]
  for (let exponent = -26; exponent < 16; exponent++) {
    for (const fraction of [0, 1, 0xfff, 0x1000, 0x1001, 0x2fff, 0x3000, 0x3001, 0x7fffff]) {
      words[0] = ((exponent + 127) << 23) | fraction
      values.push(float[0]!, -float[0]!)
    }
  }
  const { normal } = random(seed)
  while (values.length % (2 * headDim) !== 0 || values.length < 2000) values.push(normal() * 10)
  return Float32Array.from(values)
}

describe.each(['simd128', 'relaxed', 'simd128-threads', 'relaxed-threads'])('%s', (form) => {
  const module = new WebAssembly.Module(readFileSync(new URL(`../../wasm/dist/${form}.wasm`, import.meta.url)))
  const memory = new WebAssembly.Memory({ initial: 64, maximum: 65_536, shared: form.endsWith('-threads') })
  const kernels = kernelsOf(new WebAssembly.Instance(module, { env: { memory } }).exports)
  const x = rows()
  const count = x.length / (2 * headDim)
  const [xAt, slotsAt, poolAt] = [1_200_000, 1_400_000, 1_500_000]
  new Float32Array(memory.buffer).set(x, xAt / 4)
  new Uint32Array(memory.buffer).set(
    Array.from({ length: count }, (_, row) => row),
    slotsAt / 4,
  )

  /** Writes all rows; returns element (row, d) of K and V as the pages hold it, read by `read(address of element 0, index)`. */
  function write(type: number, read: (page: number, index: number) => number) {
    const bytes = kernels.kv_layer_bytes(type, 1, headDim)
    const status = kernels.write_kv(type, poolAt, bytes, xAt, 2 * headDim, 0, headDim, 1, headDim, slotsAt, count)
    expect(status).toBe(0)
    const page = (row: number) => poolAt + Math.floor(row / 16) * bytes
    return {
      page,
      k: (row: number, d: number) => read(page(row), d * 16 + (row % 16)),
      v: (row: number, d: number) => read(page(row), 16 * headDim + (row % 16) * headDim + d),
    }
  }

  test('f16: the nearest, ties to even, saturating, NaN as 0', () => {
    const halves = new Uint16Array(memory.buffer)
    const { k, v } = write(1, (page, index) => halves[page / 2 + index]!)
    const half = new DataView(new ArrayBuffer(2))
    for (let row = 0; row < count; row++) {
      for (let d = 0; d < 2 * headDim; d++) {
        const value = x[row * 2 * headDim + d]!
        const clamped = Number.isNaN(value) ? 0 : Math.min(Math.max(value, -65504), 65504)
        half.setFloat16(0, clamped)
        const got = d < headDim ? k(row, d) : v(row, d - headDim)
        expect([value, got]).toEqual([value, half.getUint16(0)])
      }
    }
  })

  test('int8: absmax / 127 per token, the nearest integer', () => {
    const bytes = new Int8Array(memory.buffer)
    const floats = new Float32Array(memory.buffer)
    const { page, k, v } = write(2, (at, index) => bytes[at + index]!)
    for (let row = 0; row < count; row++) {
      for (const [part, read] of [k, v].entries()) {
        const head = x.subarray((row * 2 + part) * headDim, (row * 2 + part + 1) * headDim)
        const sizes = [...head]
          .filter((value) => !Number.isNaN(value))
          .map((value) => Math.min(Math.abs(value), 3.4028234663852886e38))
        const scale = Math.fround(Math.max(...sizes) / 127)
        const stored = floats[(page(row) + 32 * headDim) / 4 + part * 16 + (row % 16)]!
        expect(stored).toBe(scale)
        for (let d = 0; d < headDim; d++) {
          const value = head[d]!
          const got = read(row, d)
          if (Number.isNaN(value)) expect(got).toBe(0)
          else if (!Number.isFinite(value)) expect(got).toBe(127 * Math.sign(value))
          // Half a step, and what the two roundings of value * (127 / absmax) may add.
          else expect(Math.abs(got - value / scale)).toBeLessThan(0.5 + 3e-5)
        }
      }
    }
  })

  test('f32: the same bits', () => {
    const words = new Uint32Array(memory.buffer)
    const { k, v } = write(0, (page, index) => words[page / 4 + index]!)
    const from = new Uint32Array(x.buffer)
    for (let row = 0; row < count; row++)
      for (let d = 0; d < 2 * headDim; d++)
        expect(d < headDim ? k(row, d) : v(row, d - headDim)).toBe(from[row * 2 * headDim + d])
  })
})
