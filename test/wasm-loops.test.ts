/**
 * The order of operations in the built kernels, read from their bytes. Compilers like to nest a sum into the next one: eight chains of eight
 * dependent products with all operands alive, where eight independent products were written, cost half of an engine's speed and no test of
 * results sees them.
 */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { type Loop, multiplyingLoops, type Product } from '../bench/wasm-loops.ts'

const folder = process.env.FORETOKEN_WASM ? `${process.env.FORETOKEN_WASM}/` : new URL('../wasm/dist/', import.meta.url)
const integers: readonly Product[] = ['relaxed dot', 'relaxed pairs', 'pairs']

/** Vectors that may be alive at once in a loop of integer products: x86 has 16 registers, of which V8 keeps one; two may come from memory. */
const mostAlive = 19
/** In loops of floats: powers of two keep their constants at hand, and engines may reload those. */
const mostAliveFloats = 24

function loopsOf(name: string): Loop[] {
  const at = typeof folder === 'string' ? `${folder}${name}.wasm` : new URL(`${name}.wasm`, folder)
  return multiplyingLoops(readFileSync(at))
}

function has(loop: Loop, kinds: readonly Product[]): boolean {
  return kinds.some((kind) => (loop.products[kind] ?? 0) > 0)
}

describe.each([
  { name: 'simd128', tiles: { pairs: 16 } },
  { name: 'simd128-threads', tiles: { pairs: 16 } },
  { name: 'relaxed', tiles: { 'relaxed dot': 8, 'relaxed pairs': 8 } },
  { name: 'relaxed-threads', tiles: { 'relaxed dot': 8, 'relaxed pairs': 8 } },
] as const)('$name', ({ name, tiles }) => {
  const loops = loopsOf(name)
  const integer = loops.filter((loop) => has(loop, integers))
  const handing = integer.filter((loop) => loop.handed > 0)

  test('integer products of an iteration do not depend on each other', () => {
    expect(handing.length).toBeGreaterThanOrEqual(20)
    // Where a product takes two instructions with 4 k apart, an accumulator gets two of them.
    expect(handing.filter((loop) => loop.chain > 2)).toEqual([])
    expect(integer.filter((loop) => loop.live > mostAlive)).toEqual([])
    // The one-instruction product gets one in a tile; a single row may take several steps an iteration.
    const tile = (loop: Loop) => loop.products['relaxed dot'] === 8 && loop.handed >= 8
    expect(integer.filter((loop) => tile(loop) && loop.chain > 1)).toEqual([])
  })

  test.each(Object.entries(tiles))('a tile of 4 rows x 8 outputs by %s carries 8 sums', (kind, count) => {
    const found = integer.filter((loop) => loop.products[kind as Product] === count && loop.handed === 8)
    expect(found.length).toBeGreaterThanOrEqual(2)
  })

  test('sums of floats depend on one step per iteration', () => {
    const floats = loops.filter((loop) => has(loop, ['multiply', 'multiply-add']))
    expect(floats.filter((loop) => loop.carried > 1)).toEqual([])
    expect(floats.filter((loop) => loop.live > mostAliveFloats)).toEqual([])
    // Attention's scores and outputs, 4 rows x 8.
    const tile = name.startsWith('relaxed') ? ({ 'multiply-add': 8 } as const) : ({ multiply: 8 } as const)
    const [[kind, count]] = Object.entries(tile) as [[Product, number]]
    expect(floats.filter((loop) => loop.products[kind] === count && loop.handed === 8).length).toBeGreaterThanOrEqual(2)
  })
})

describe('analysis of a loop', () => {
  /** relaxed dot: (a, b, sum). */
  const dot = [0xfd, 0x93, 0x02]
  const get = (local: number) => [0x20, local]
  const set = (local: number) => [0x21, local]

  test('independent products: no chain, and each sum is carried over', () => {
    const body = [
      ...get(0),
      ...get(1),
      ...get(2),
      ...dot,
      ...set(2),
      ...get(0),
      ...get(1),
      ...get(3),
      ...dot,
      ...set(3),
    ]
    expect(multiplyingLoops(moduleOf(body))).toEqual([
      { fn: 0, at: 0, products: { 'relaxed dot': 2 }, chain: 1, carried: 0, live: 6, handed: 2 },
    ])
  })

  test('nested products: a chain', () => {
    const nested = [...get(0), ...get(1), ...get(0), ...get(1), ...get(0), ...get(1), ...get(2), ...dot, ...dot, ...dot]
    expect(multiplyingLoops(moduleOf([...nested, ...set(2)]))).toMatchObject([{ chain: 3, handed: 1, live: 9 }])
  })

  test('floats: steps from one iteration to the next', () => {
    const [multiply, add] = [
      [0xfd, 0xe6, 0x01],
      [0xfd, 0xe4, 0x01],
    ]
    const step = [...get(0), ...get(1), ...multiply!, ...add!]
    const body = [...get(2), ...step, ...step, ...set(2)]
    expect(multiplyingLoops(moduleOf(body))).toMatchObject([{ products: { multiply: 2 }, carried: 2, handed: 1 }])
  })
})

/** A module with one function of four vectors in locals, whose loop has this body. */
function moduleOf(body: readonly number[]): Uint8Array {
  const section = (id: number, content: readonly number[]) => [id, content.length, ...content]
  const code = [1, 4, 0x7b, 0x03, 0x40, ...body, 0x0b, 0x0b]
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, 0, 0]),
    ...section(3, [1, 0]),
    ...section(10, [1, code.length, ...code]),
  ])
}
