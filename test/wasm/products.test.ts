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

type Activation = (row: number) => () => number

const negative: Activation = (row) => {
  const rng = random(row + 1)
  return () => -1 - rng.below(128)
}
const positive: Activation = (row) => {
  const rng = random(row + 1)
  return () => rng.below(128)
}

/**
 * out (rows, n) of a random weight of `type` and int8 activations, by the product for `lowering`. Activations and scales
 * of a row follow from its number.
 */
function product(
  type: TensorType,
  rows: readonly number[],
  lowering: number,
  activation: Activation,
  build: 'relaxed' | 'simd128' = 'relaxed',
): Float32Array {
  const count = rows.length
  const memory = new WebAssembly.Memory({ initial: 17, maximum: 65_536 })
  const file = process.env.FORETOKEN_WASM
    ? `${process.env.FORETOKEN_WASM}/${build}.wasm`
    : new URL(`../../wasm/dist/${build}.wasm`, import.meta.url)
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
  const [q, s, sums, out] = [count * k, count * k, count * k, count * n * 4].map((bytes) =>
    arena.alloc(bytes, 'tables'),
  )
  // Rows form groups of 4, the last possibly smaller; in a group, 4 k of each row and a block of
  // each row are adjacent.
  for (const [at, row] of rows.entries()) {
    const next = activation(row)
    const group = at - (at % 4)
    const [size, lane] = [Math.min(4, count - group), at % 4]
    for (let block = 0; block < k / 32; block++) {
      let sum = 0
      for (let i = 0; i < 32; i++) {
        const value = next()
        arena.bytes[q! + group * k + ((block * 8 + (i >> 2)) * size + lane) * 4 + (i & 3)] = value & 255
        sum += value
      }
      const to = group * (k / 32) + block * size + lane
      arena.floats[s! / 4 + to] = 0.01 + (row * (k / 32) + block) * 1e-4
      arena.floats[sums! / 4 + to] = arena.floats[s! / 4 + to]! * sum
    }
  }
  const status =
    kind === kinds.u4
      ? kernels.gemm_u4(out!, n, q!, s!, sums!, w, count, n, k, 0, lowering)
      : kernels.gemm_i8(out!, n, q!, s!, sums!, w, count, n, k, 0, kind, lowering)
  expect(status).toBe(0)
  return arena.floats.slice(out! / 4, out! / 4 + count * n)
}

describe.each(['q4_1', 'q8_0', 'q5_1', 'q6_k'] as const)('%s', (type) => {
  // On both sides of each number of rows from which another form of a product is used.
  const numbers = [1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 23]

  test.each(numbers)('%i rows', (count) => {
    const rows = Array.from({ length: count }, (_, row) => row)
    const unsigned = product(type, rows, 1, negative)
    expect(unsigned.some((value) => value !== 0)).toBe(true)
    expect(unsigned).toEqual(product(type, rows, 0, negative))
    expect(product(type, rows, 2, positive)).toEqual(product(type, rows, 0, positive))
  })

  test.each([
    ['relaxed', 0],
    ['relaxed', 1],
    ['simd128', 0],
  ] as const)('a row has the same bits alone and with others, %s %i', (build, lowering) => {
    const last = Math.max(...numbers) - 1
    const alone = [0, 1, last].map((row) => product(type, [row], lowering, negative, build))
    for (const count of numbers.slice(1)) {
      const rows = [last, ...Array.from({ length: count - 2 }, (_, row) => row + 1), 0]
      const out = product(type, rows, lowering, negative, build)
      const of = (at: number) => out.slice(at * n, at * n + n)
      expect(of(0), `first of ${count}`).toEqual(alone[2])
      expect(of(count - 1), `last of ${count}`).toEqual(alone[0])
      if (count > 2) expect(of(1), `second of ${count}`).toEqual(alone[1])
    }
  })
})
