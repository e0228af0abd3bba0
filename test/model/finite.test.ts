/** Matrices with NaN, infinities or scales that overflow are refused by their name, whatever their type and however they stream in. */
import { describe, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { type TensorType, tensorBlocks } from '../../src/base/model.ts'
import { Engine } from '../../src/index.ts'
import { FiniteCheck } from '../../src/model/finite.ts'
import { dequantize, randomBlocks } from '../helpers/blocks.ts'
import { random } from '../helpers/random.ts'
import { tinyFolder } from '../helpers/tiny-folder.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'

const wasm = await loadWasm('simd128')
const types = Object.keys(tensorBlocks) as TensorType[]
const seed = 5

/** Where the numbers of a block that may be NaN begin, and what writes one. */
const scalesOf: Readonly<Partial<Record<TensorType, readonly number[]>>> = {
  q4_1: [0, 2],
  q5_1: [0, 2],
  q2_k: [80, 82],
  q3_k: [108],
  q4_k: [0, 2],
  q5_k: [0, 2],
  q6_k: [208],
  tq1_0: [52],
  tq2_0: [64],
}
const oddHalves = [0x7c00, 0xfc00, 0x7e01, 0x7c01, 0xffff]
const oddBits: Readonly<Record<string, readonly number[]>> = {
  f32: [0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001],
  bf16: [0x7f80, 0xff80, 0x7fc0, 0x7f81],
  mxfp4: [0xff, 144],
}

/** The same bytes with one number that is not finite at the front of block `block`, in every way that there is. */
function* spoilt(type: TensorType, bytes: Uint8Array, block: number): Generator<Uint8Array> {
  for (const at of scalesOf[type] ?? [0])
    for (const bits of oddBits[type] ?? oddHalves) {
      const copy = bytes.slice()
      const view = new DataView(copy.buffer)
      const place = block * tensorBlocks[type].bytes + at
      if (type === 'f32') view.setUint32(place, bits, true)
      else if (type === 'mxfp4') view.setUint8(place, bits)
      else view.setUint16(place, bits, true)
      yield copy
    }
}

function check(type: TensorType, rows: number, bytes: Uint8Array, piece: () => number): void {
  const check = new FiniteCheck({ name: 'layers.3.up', type, rows, bytes: bytes.length })
  for (let at = 0; at < bytes.length; ) {
    const end = Math.min(bytes.length, at + piece())
    check.add(bytes.subarray(at, end))
    at = end
  }
}

describe.each(types)('%s', (type) => {
  const rng = random(seed)
  const { elements, bytes: size } = tensorBlocks[type]
  const [rows, blocks] = [7, elements === 1 ? 33 : 3]
  const bytes = randomBlocks(type, rows * blocks * elements, rng)

  test('is accepted where all values are finite, in pieces of any length', () => {
    expect(dequantize(type, bytes).every(Number.isFinite)).toBe(true)
    for (let round = 0; round < 50; round++) check(type, rows, bytes, () => 1 + Math.floor(rng.unit() * 40))
    check(type, rows, bytes, () => bytes.length)
  })

  test(`is refused with the row of the value, wherever it is (seed ${seed})`, () => {
    for (const block of [0, 1, blocks, 3 * blocks - 1, 4 * blocks, rows * blocks - 1])
      for (const copy of spoilt(type, bytes, block))
        for (const piece of [() => bytes.length, () => 1 + Math.floor(rng.unit() * 40), () => size, () => 1])
          expect(() => check(type, rows, copy, piece)).toThrow(
            expect.objectContaining({
              code: 'bad_model',
              message: expect.stringMatching(
                new RegExp(`^layers\\.3\\.up \\(${type}\\) .* row ${Math.floor(block / blocks)}\\b`),
              ),
            }),
          )
  })
})

/** The largest scale that a backend can multiply within binary16, and the next one. */
test.each<[TensorType, number, number]>([
  ['q4_0', 0x6fff, 0x7000],
  ['q4_k', 0x63ff, 0x6400],
  ['q5_k', 0x63ff, 0x6400],
  ['q6_k', 0x5fff, 0x6000],
  ['q1_0', 0x77ff, 0x7800],
  ['q2_k', 0x6bff, 0x6c00],
  ['q3_k', 0x67ff, 0x6800],
  ['iq4_xs', 0x67ff, 0x6800],
  ['q8_0', 0x7bff, 0x7c00],
])('%s: a scale that overflows when multiplied is refused', (type, most, more) => {
  const bytes = randomBlocks(type, 8 * tensorBlocks[type].elements, random(seed))
  const at = scalesOf[type]?.[0] ?? 0
  new DataView(bytes.buffer).setUint16(at, most, true)
  check(type, 8, bytes, () => 100)
  new DataView(bytes.buffer).setUint16(at, more | 0x8000, true)
  expect(() => check(type, 8, bytes, () => 100)).toThrow(/scale that is not finite in row 0, or one too large/)
})

describe('an engine is not loaded from', () => {
  test.each(types)('a GGUF with a matrix of %s that is not finite', async (type) => {
    const files = tinyFiles({
      type,
      tensors: (all) =>
        all.map((tensor) => {
          if (tensor.name !== 'blk.1.ffn_up.weight') return tensor
          const [bytes] = [...spoilt(type, tensor.bytes, tensor.bytes.length / tensorBlocks[type].bytes - 1)]
          return { ...tensor, bytes: bytes! }
        }),
    })
    await expect(Engine.load(files, { wasm, context: 32 })).rejects.toMatchObject({
      code: 'bad_model',
      message: expect.stringMatching(new RegExp(`^blk\\.1\\.ffn_up\\.weight \\(${type}\\) .* row 511`)),
    })
  })

  test('a folder with a matrix that is not finite', async () => {
    const files = tinyFolder({
      tensors: (all) => all.get('model.layers.0.self_attn.k_proj.weight')!.data.fill(Infinity, 40, 41),
    })
    await expect(Engine.load(files, { wasm, context: 32 })).rejects.toThrow(
      /^model\.layers\.0\.self_attn\.k_proj\.weight \(f32\) .* row 1:/,
    )
  })
})
