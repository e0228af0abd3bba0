/** Formats in few bits that are not multiplied as they are: what llama.cpp writes and reads, and what becomes of it here. */
import { expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { createWasmBackend } from '../../src/backend/wasm/backend.ts'
import { type TensorType, tensorBlocks } from '../../src/base/model.ts'
import { Engine, openModel } from '../../src/index.ts'
import { LoadedModel } from '../../src/model/forward.ts'
import { memoryFiles } from '../../src/model/source.ts'
import { readGolden } from '../golden/golden.ts'
import { dequantize, fromHalf, toHalf, written } from '../helpers/blocks.ts'
import { inFloats } from '../helpers/float-backend.ts'
import { tinyFiles, tinyGguf } from '../helpers/tiny-model.ts'

interface Golden {
  readonly columns: number
  readonly formats: Readonly<Record<string, { readonly blocks: string; readonly values: string }>>
}

const { columns, formats } = readGolden<Golden>('quantised.json', 'quantised')
const types = Object.keys(formats) as TensorType[]
const wasm = await loadWasm('simd128')
const ids = [...'the river rises in the hills and meets the sea near the harbour'].map((letter) => letter.charCodeAt(0))

const bytesOf = (text: string) => Uint8Array.from(Buffer.from(text, 'base64'))
const blocksOf = (type: TensorType) => bytesOf(formats[type]!.blocks)
const valuesOf = (type: TensorType) => new Float32Array(bytesOf(formats[type]!.values).buffer)

test('the vectors cover nine formats, and 512 numbers in each', () => {
  expect(types.toSorted()).toEqual(
    ['iq4_nl', 'iq4_xs', 'mxfp4', 'q1_0', 'q2_0', 'q2_k', 'q3_k', 'tq1_0', 'tq2_0'].toSorted(),
  )
  for (const type of types) expect(valuesOf(type)).toHaveLength(512)
})

test.each(types)('%s: the oracle of other tests reads what llama.cpp reads', (type) => {
  const own = dequantize(type, blocksOf(type))
  // The reference rounds two products to f32, the oracle none.
  valuesOf(type).forEach((value, i) => {
    expect(Math.abs(own[i]! - value), `number ${i}`).toBeLessThanOrEqual(2 ** -23 * (Math.abs(value) + 0.5))
  })
})

/**
 * Returns the largest error of number `i`: none where scales are kept; 2^-11 of it where a scale is
 * a product rounded to binary16, and 127 steps of half 2^-24 where that is subnormal; in Q2_K half of
 * 1/127 of the largest number that its 16 can stand for.
 */
function boundOf(type: TensorType, values: Float32Array, i: number): number {
  if (type === 'iq4_xs' || type === 'q3_k') return 2 ** -11 * Math.abs(values[i]!) + 127 * 2 ** -25
  if (type !== 'q2_k') return 0
  const bytes = blocksOf(type)
  const view = new DataView(bytes.buffer)
  const block = Math.floor(i / 256) * tensorBlocks.q2_k.bytes
  const scale = bytes[block + Math.floor((i % 256) / 16)]!
  const half = (at: number) => fromHalf(view.getUint16(block + at, true))
  const [d, m] = [half(80) * (scale & 15), half(82) * (scale >> 4)]
  const most = Math.max(Math.abs(m), Math.abs(3 * d - m))
  return (most / 127) * (0.5 + 2 ** -11) + 2 ** -24
}

test.each(types)('%s: the core keeps its numbers within the bound', async (type) => {
  const backend = await createWasmBackend({ modules: wasm })
  backend.prepare({ tokens: 8, maxK: columns, headDim: 64, groups: [1] })
  const weight = written(backend.weight({ name: type, type, n: 2, k: columns }), blocksOf(type))
  const out = backend.tensor(2, columns)
  backend.embed(out, weight, [0, 1])
  const got = await backend.read(out, 2)
  const values = valuesOf(type)
  let far = 0
  got.forEach((value, i) => {
    const error = Math.abs(value - values[i]!)
    expect(error, `number ${i}: ${value} for ${values[i]}`).toBeLessThanOrEqual(boundOf(type, values, i))
    far = Math.max(far, error)
  })
  // The formats that are not kept exactly are seen to be so: a bound that is never used shows nothing.
  expect(far > 0).toBe(boundOf(type, values, 0) > 0)
  await backend.close()
})

/**
 * The same numbers in a format that was read before: the step of each run of 32, in the order of the
 * file, from a block.
 */
const twins: readonly (readonly [TensorType, TensorType, (block: DataView, run: number) => number])[] = [
  ['q1_0', 'q4_1', (block) => 2 * fromHalf(block.getUint16(0, true))],
  ['q2_0', 'q4_1', (block) => fromHalf(block.getUint16(0, true))],
  ['tq1_0', 'q4_1', (block) => fromHalf(block.getUint16(52, true))],
  ['tq2_0', 'q4_1', (block) => fromHalf(block.getUint16(64, true))],
  ['iq4_nl', 'q8_0', (block) => fromHalf(block.getUint16(0, true))],
  ['mxfp4', 'q8_0', (block) => 2 ** (block.getUint8(0) - 128)],
  [
    'iq4_xs',
    'q8_0',
    (block, run) => {
      const low = (block.getUint8(4 + (run >> 1)) >> (4 * (run & 1))) & 15
      const high = (block.getUint16(2, true) >> (2 * run)) & 3
      return fromHalf(block.getUint16(0, true)) * (low + 16 * high - 32)
    },
  ],
]

function inTwin(bytes: Uint8Array, [type, twin, stepOf]: (typeof twins)[number]) {
  const values = dequantize(type, bytes)
  const { elements, bytes: size } = tensorBlocks[type]
  const out = new Uint8Array((values.length / 32) * tensorBlocks[twin].bytes)
  const view = new DataView(out.buffer)
  for (let run = 0; run < values.length / 32; run++) {
    const block = Math.floor((run * 32) / elements)
    const inBlock = (run * 32) % elements
    const d = stepOf(new DataView(bytes.buffer, bytes.byteOffset + block * size, size), inBlock / 32)
    const at = run * tensorBlocks[twin].bytes
    view.setUint16(at, toHalf(d), true)
    // One bit stands for -d / 2 and d / 2, as d is its step.
    const m = twin === 'q4_1' ? (type === 'q1_0' ? -d / 2 : -d) : 0
    if (twin === 'q4_1') view.setUint16(at + 2, toHalf(m), true)
    for (let i = 0; i < 32; i++) {
      const q = d === 0 ? 0 : Math.round((values[run * 32 + i]! - m) / d)
      if (twin === 'q8_0') view.setInt8(at + 2 + i, q)
      else out[at + 4 + (i % 16)]! |= q << (i < 16 ? 0 : 4)
    }
  }
  return out
}

/** q3_k has the scales of 16 that q6_k has, and numbers that are among those of q6_k. */
function inSixBits(bytes: Uint8Array): Uint8Array {
  const values = dequantize('q3_k', bytes)
  const out = new Uint8Array((values.length / 256) * 210)
  const [from, view] = [new DataView(bytes.buffer, bytes.byteOffset, bytes.length), new DataView(out.buffer)]
  for (let block = 0; block < values.length / 256; block++) {
    const d = from.getUint16(block * 110 + 108, true)
    view.setUint16(block * 210 + 208, d, true)
    for (let i = 0; i < 256; i++) {
      const group = i >> 4
      const packed = (byte: number) => bytes[block * 110 + 96 + byte]!
      const low = (packed(group & 7) >> (group < 8 ? 0 : 4)) & 15
      const scale = low + 16 * ((packed(8 + (group & 3)) >> (2 * (group >> 2))) & 3) - 32
      view.setInt8(block * 210 + 192 + group, scale)
      const q = scale === 0 ? 0 : Math.round(values[block * 256 + i]! / (fromHalf(d) * scale))
      const [part, run, l] = [i >> 7, (i >> 5) & 3, i & 31]
      out[block * 210 + part * 64 + (run % 2) * 32 + l]! |= ((q + 32) & 15) << (run < 2 ? 0 : 4)
      out[block * 210 + 128 + part * 32 + l]! |= ((q + 32) >> 4) << (run * 2)
    }
  }
  return out
}

async function logitsOf(engine: Engine): Promise<Float32Array> {
  const session = await engine.prefill(ids)
  session.release()
  await engine.close()
  return session.logits
}

const recoded = [
  ...twins.map((twin) => [twin[0], twin[1], (bytes: Uint8Array) => inTwin(bytes, twin)] as const),
  ['q3_k', 'q6_k', inSixBits] as const,
]

test.each(recoded)('a model in %s has the same bits as in %s with the same numbers', async (type, twin, recode) => {
  const other = tinyGguf({
    type,
    tensors: (all) =>
      all.map((tensor) => (tensor.type === type ? { ...tensor, type: twin, bytes: recode(tensor.bytes) } : tensor)),
  })
  const got = await logitsOf(await Engine.load(tinyFiles({ type }), { wasm, context: 128 }))
  const want = await logitsOf(await Engine.load(memoryFiles('twin', { 'twin.gguf': other }), { wasm, context: 128 }))
  expect(got.some((logit) => Math.abs(logit) > 0.1)).toBe(true)
  expect(got).toEqual(want)
})

test('a model in q2_k is near the same in f32, dequantised, whose activations are not int8 either', async () => {
  const options = { passTokens: 128, logitRows: 1, kv: 'f32' } as const
  const files = tinyFiles({ type: 'q2_k' })
  const all: Float32Array[] = []
  for (const floats of [false, true]) {
    const backend = await createWasmBackend({ modules: wasm })
    const model = await LoadedModel.load(floats ? inFloats(backend) : backend, await openModel(files), options)
    const segments = [{ start: 0, length: ids.length, past: 0, pages: model.pool.add(8) }]
    all.push(await model.forward({ ids, segments, outputs: [ids.length - 1] }))
    await backend.close()
  }
  const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, value, i) => sum + value * b[i]!, 0)
  const [got, want] = [all[0]!, all[1]!]
  expect(dot(got, want) / Math.sqrt(dot(got, got) * dot(want, want))).toBeGreaterThan(0.9995)
})

test('a type that is not read is named, with what to use', async () => {
  const bytes = tinyGguf({ type: 'q8_0' })
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const name = new TextEncoder().encode('token_embd.weight')
  const at = bytes.findIndex((_, i) => name.every((letter, j) => bytes[i + j] === letter))
  const open = (number: number) => {
    view.setUint32(at + name.length + 4 + 16, number, true)
    return openModel(memoryFiles('few', { 'few.gguf': bytes }))
  }
  for (const [number, said] of [
    [21, 'iq3_s'],
    [40, 'nvfp4'],
    [99, "ggml's type 99, which is not known"],
  ] as const)
    await expect(open(number)).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining(`"token_embd.weight" is in ${said}; `),
    })
  await expect(open(21)).rejects.toThrow(/iq4_nl, .* are read: use a file of the model in one of these, such as Q4_K_M/)
})
