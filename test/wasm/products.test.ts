/**
 * The ways of multiplying that this machine's engine would not choose. Each is exact on every engine for activations of
 * one sign (its second operand then stays in 0..127), so all can be held against each other anywhere, bit for bit.
 */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { kernelsOf, kinds, tensorTypeIds } from '../../src/backend/wasm/abi.ts'
import { Arena } from '../../src/backend/wasm/arena.ts'
import type { TensorType } from '../../src/base/model.ts'
import { randomBlocks } from '../helpers/blocks.ts'
import { random } from '../helpers/random.ts'

const [n, k] = [29, 256]

/** out (rows, n) of a random weight of `type` and given int8 activations, by the product for `lowering`. */
function product(type: TensorType, rows: number, lowering: number, activation: () => number): Float32Array {
  const memory = new WebAssembly.Memory({ initial: 17, maximum: 65_536 })
  const file = process.env.FORETOKEN_WASM
    ? `${process.env.FORETOKEN_WASM}/relaxed.wasm`
    : new URL('../../wasm/dist/relaxed.wasm', import.meta.url)
  const module = new WebAssembly.Module(readFileSync(file))
  const kernels = kernelsOf(new WebAssembly.Instance(module, { env: { memory } }).exports)
  const arena = new Arena(memory, Number(kernels.__heap_base.value))
  const scratch = kernels.scratch_bytes(k, 64, 1)
  kernels.pool_set_scratch(arena.alloc(scratch, 'tables'), scratch)
  const source = randomBlocks(type, n * k, random(7))
  const from = arena.alloc(source.length, 'tables')
  arena.bytes.set(source, from)
  const kind = kernels.weight_kind(tensorTypeIds[type])
  const w = arena.alloc(kernels.weight_bytes(kind, n, k), 'tables')
  expect(kernels.repack(tensorTypeIds[type], w, from, 0, n, n, k)).toBe(0)
  const [q, s, sums, out] = [rows * k, rows * k, rows * k, rows * n * 4].map((bytes) => arena.alloc(bytes, 'tables'))
  for (let i = 0; i < rows * k; i++) arena.bytes[q! + i] = activation() & 255
  // Rows form groups of 4, the last possibly smaller; in a group, 4 k of each row and a block of
  // each row are adjacent.
  for (let row = 0; row < rows; row++)
    for (let block = 0; block < k / 32; block++) {
      const group = row - (row % 4)
      const [size, lane] = [Math.min(4, rows - group), row % 4]
      let sum = 0
      for (let i = 0; i < 32; i++)
        sum += (arena.bytes[q! + group * k + ((block * 8 + (i >> 2)) * size + lane) * 4 + (i & 3)]! << 24) >> 24
      const at = group * (k / 32) + block * size + lane
      arena.floats[s! / 4 + at] = 0.01 + at * 1e-4
      arena.floats[sums! / 4 + at] = arena.floats[s! / 4 + at]! * sum
    }
  const status =
    kind === kinds.u4
      ? kernels.gemm_u4(out!, n, q!, s!, sums!, w, rows, n, k, 0, lowering)
      : kernels.gemm_i8(out!, n, q!, s!, sums!, w, rows, n, k, 0, kind, lowering)
  expect(status).toBe(0)
  return arena.floats.slice(out! / 4, out! / 4 + rows * n)
}

describe.each(['q4_1', 'q8_0', 'q5_1', 'q6_k'] as const)('%s', (type) => {
  test.each([1, 2, 4, 7, 8, 9, 15])('%i rows', (rows) => {
    const negative = () => {
      const rng = random(rows)
      return () => -1 - rng.below(128)
    }
    const positive = () => {
      const rng = random(rows)
      return () => rng.below(128)
    }
    const unsigned = product(type, rows, 1, negative())
    expect(unsigned.some((value) => value !== 0)).toBe(true)
    expect(unsigned).toEqual(product(type, rows, 0, negative()))
    expect(product(type, rows, 2, positive())).toEqual(product(type, rows, 0, positive()))
  })
})
