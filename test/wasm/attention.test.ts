/**
 * Attention in integers inside real wasm: by the products that this engine would choose, and by those
 * that it would not. Integers leave nothing open, so that all are equal to the last bit; and they are
 * near attention in floats.
 */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { kernelsOf, kvTypeIds } from '../../src/backend/wasm/abi.ts'
import { Arena } from '../../src/backend/wasm/arena.ts'
import type { KvType } from '../../src/base/kv.ts'
import { random } from '../helpers/random.ts'

const seed = 20261130
const [heads, kvHeads, headDim] = [9, 3, 64]
const columns = (heads + 2 * kvHeads) * headDim
const width = heads * headDim

function instance(build: 'relaxed' | 'simd128') {
  const memory = new WebAssembly.Memory({ initial: 17, maximum: 65_535 })
  const file = process.env.FORETOKEN_WASM
    ? `${process.env.FORETOKEN_WASM}/${build}.wasm`
    : new URL(`../../wasm/dist/${build}.wasm`, import.meta.url)
  const kernels = kernelsOf(
    new WebAssembly.Instance(new WebAssembly.Module(readFileSync(file)), { env: { memory } }).exports,
  )
  return { kernels, arena: new Arena(memory, Number(kernels.__heap_base.value)) }
}

/**
 * Computes attention of a sequence of `tokens` random tokens. `form`: 0 floats, 1 + lowering integers;
 * `window`: 0 for none.
 */
function attend(build: 'relaxed' | 'simd128', kv: KvType, tokens: number, form: number, window: number): Float32Array {
  const { kernels, arena } = instance(build)
  const type = kvTypeIds[kv]
  const scratch = kernels.scratch_bytes(64, headDim, heads / kvHeads)
  kernels.pool_set_scratch(arena.alloc(scratch, 'tables'), scratch)
  const pages = Math.ceil(tokens / 16)
  const pageBytes = kernels.kv_layer_bytes(type, kvHeads, headDim)
  const pool = arena.alloc(pages * pageBytes, 'pools')
  const [x, out] = [arena.alloc(tokens * columns * 4, 'tables'), arena.alloc(tokens * width * 4, 'tables')]
  const [slots, segments, table] = [tokens, 4, pages].map((count) => arena.alloc(count * 4, 'tables')) as [
    number,
    number,
    number,
  ]
  const rng = random(seed + tokens)
  arena.floats.set(rng.floats(tokens * columns), x / 4)
  for (let i = 0; i < tokens; i++) arena.words[slots / 4 + i] = i
  for (let i = 0; i < pages; i++) arena.words[table / 4 + i] = i
  arena.words.set([0, tokens, 0, 0], segments / 4)
  const [k, v] = [width, width + kvHeads * headDim]
  expect(kernels.write_kv(type, pool, pageBytes, x, columns, k, v, kvHeads, headDim, slots, tokens)).toBe(0)
  const scale = 1 / Math.sqrt(headDim)
  const of = [
    out,
    width,
    x,
    columns,
    0,
    heads,
    kvHeads,
    headDim,
    type,
    pool,
    pageBytes,
    segments,
    1,
    table,
    scale,
  ] as const
  expect(kernels.attention(...of, window, form)).toBe(0)
  return arena.floats.slice(out / 4, out / 4 + tokens * width)
}

/** Returns the form that this engine's relaxed dot would be used in; 1 if in none. */
function chosen(): number {
  const found = instance('relaxed').kernels.probe()
  return (found & 2) !== 0 ? 2 : (found & 4) !== 0 ? 3 : 1
}

describe.each((['f32', 'f16', 'int8'] as const).flatMap((kv) => [0, 37, 130].map((window) => ({ kv, window }))))(
  '$kv pages, window $window',
  ({ kv, window }) => {
    test.each([1, 17, 128, 203])('%i tokens: integers are the same by every product', (tokens) => {
      const wide = attend('relaxed', kv, tokens, 1, window)
      expect(wide.some((value) => value !== 0)).toBe(true)
      expect(attend('relaxed', kv, tokens, chosen(), window)).toEqual(wide)
    })

    test.each(['relaxed', 'simd128'] as const)('%s: integers are near floats', (build) => {
      const tokens = 203
      const floats = attend(build, kv, tokens, 0, window)
      const integers = attend(build, kv, tokens, build === 'relaxed' ? chosen() : 1, window)
      let [error, size] = [0, 0]
      floats.forEach((value, i) => {
        error += (value - integers[i]!) ** 2
        size += value ** 2
      })
      // Numbers of a normal distribution reach 3.5 of its widths: a step of int8 is 1/36, its error .008
      // of a value; scores of 64 such products, each with two errors, are off by .011, and so are
      // weights. Values add .008, and weights in 7 bits less than .01.
      expect(Math.sqrt(error / size)).toBeLessThan(0.025)
      expect(error).toBeGreaterThan(0)
    })
  },
)
