/** Attention in integers inside real wasm is near attention in floats, also where products are largest. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { kernelsOf, kvTypeIds } from '../../src/backend/wasm/abi.ts'
import { Arena } from '../../src/backend/wasm/arena.ts'
import { random } from '../helpers/random.ts'

const seed = 20261201
const [heads, kvHeads, headDim] = [9, 3, 64]
const columns = (heads + 2 * kvHeads) * headDim
const width = heads * headDim

function instance(build: 'relaxed' | 'simd128') {
  const memory = new WebAssembly.Memory({ initial: 17, maximum: 65_535 })
  const file = new URL(`../../wasm/dist/${build}.wasm`, import.meta.url)
  const kernels = kernelsOf(
    new WebAssembly.Instance(new WebAssembly.Module(readFileSync(file)), { env: { memory } }).exports,
  )
  return { kernels, arena: new Arena(memory, Number(kernels.__heap_base.value)) }
}

interface Case {
  readonly build?: 'relaxed' | 'simd128'
  /** Rows of queries, keys and values. */
  readonly x: Float32Array
  /** 0 floats, 1 integers. */
  readonly form: number
  /** 0 for none. */
  readonly window?: number
  readonly scale?: number
}

/** Computes attention of a sequence over int8 pages. */
function attend({ build = 'relaxed', x, form, window = 0, scale = 1 / Math.sqrt(headDim) }: Case): Float32Array {
  const { kernels, arena } = instance(build)
  const tokens = x.length / columns
  const type = kvTypeIds.int8
  const scratch = kernels.scratch_bytes(64, headDim, heads / kvHeads)
  kernels.pool_set_scratch(arena.alloc(scratch, 'tables'), scratch)
  const pages = Math.ceil(tokens / 16)
  const pageBytes = kernels.kv_layer_bytes(type, kvHeads, headDim)
  const pool = arena.alloc(pages * pageBytes, 'pools')
  const [rows, out] = [arena.alloc(tokens * columns * 4, 'tables'), arena.alloc(tokens * width * 4, 'tables')]
  const [slots, segments, table] = [
    arena.alloc(tokens * 4, 'tables'),
    arena.alloc(16, 'tables'),
    arena.alloc(pages * 4, 'tables'),
  ]
  arena.floats.set(x, rows / 4)
  for (let i = 0; i < tokens; i++) arena.words[slots / 4 + i] = i
  for (let i = 0; i < pages; i++) arena.words[table / 4 + i] = i
  arena.words.set([0, tokens, 0, 0], segments / 4)
  const [k, v] = [width, width + kvHeads * headDim]
  expect(kernels.write_kv(type, pool, pageBytes, rows, columns, k, v, kvHeads, headDim, slots, tokens)).toBe(0)
  const [from, to] = [[rows, columns, 0] as const, [out, width] as const]
  const shape = [heads, kvHeads, headDim, type, pool, pageBytes, segments, 1, table] as const
  expect(kernels.attention(...to, ...from, ...shape, scale, window, 0, 0, form)).toBe(0)
  return arena.floats.slice(out / 4, out / 4 + tokens * width)
}

/** Returns the root of the mean square of the differences, relative to that of `wanted`. */
function distance(found: Float32Array, wanted: Float32Array): number {
  let [error, size] = [0, 0]
  wanted.forEach((value, i) => {
    error += (value - found[i]!) ** 2
    size += value ** 2
  })
  return Math.sqrt(error / size)
}

describe.each([0, 37, 130])('window %i', (window) => {
  test.each([1, 17, 128, 203])('%i tokens: integers are near floats', (tokens) => {
    const x = random(seed + tokens).floats(tokens * columns)
    const found = distance(attend({ x, form: 1, window }), attend({ x, form: 0, window }))
    // A step of 7 bits is 1/63 of a query's largest element, 2.5 of its widths: an error of .011 of a
    // width in each product, and so of a score, whose weight it shifts by as much. Weights in 7 bits
    // add less than .01, rows of few keys the most.
    expect(found, `seed ${seed}`).toBeLessThan(0.025)
    if (tokens > 1) expect(found).toBeGreaterThan(0)
  })
})

test('the largest products are exact: an engine that saturates sums of two products would be far off', () => {
  const tokens = 40
  const x = random(seed).floats(tokens * columns)
  for (let token = 0; token < tokens; token++) {
    const at = token * columns
    // All queries are 127 as stored; keys are 127 or -127 by turns, so that their scores are far apart.
    x.fill(1, at, at + width)
    x.fill(token % 2 === 0 ? 1 : -1, at + width, at + width + kvHeads * headDim)
  }
  const scale = 1 / 64
  const found = distance(attend({ x, form: 1, scale }), attend({ x, form: 0, scale }))
  expect(found).toBeLessThan(0.006)
})

test('a build without the relaxed dot computes in floats', () => {
  const x = random(seed).floats(20 * columns)
  expect(attend({ build: 'simd128', x, form: 1 })).toEqual(attend({ build: 'simd128', x, form: 0 }))
})
