import { describe, expect, test } from 'vitest'
import { ForetokenError } from '../../src/base/errors.ts'
import { readSafetensors } from '../../src/model/safetensors.ts'
import { memorySource } from '../../src/model/source.ts'
import fc from '../helpers/properties.ts'

function file(head: unknown, data = 64): Uint8Array {
  const json = new TextEncoder().encode(typeof head === 'string' ? head : JSON.stringify(head))
  const bytes = new Uint8Array(8 + json.length + data)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true)
  bytes.set(json, 8)
  return bytes
}

const read = (bytes: Uint8Array) => readSafetensors(memorySource('m.safetensors', bytes))
const tensor = (change: object = {}) => ({ a: { dtype: 'F32', shape: [2, 4], data_offsets: [0, 32], ...change } })

describe('readSafetensors', () => {
  test('reads names, types and offsets', async () => {
    const bytes = file({
      ...tensor(),
      b: { dtype: 'BF16', shape: [16], data_offsets: [32, 64] },
      __metadata__: { format: 'pt' },
    })
    const [a, b] = await read(bytes)
    expect(a).toMatchObject({ name: 'a', type: 'f32', rows: 2, cols: 4, bytes: 32, offset: bytes.length - 64 })
    expect(b).toMatchObject({ name: 'b', type: 'bf16', rows: 1, cols: 16, bytes: 32, offset: bytes.length - 32 })
  })

  test.each([
    ['a dtype that we lack', tensor({ dtype: 'F8_E4M3' }), 'unsupported'],
    ['three dimensions', tensor({ shape: [2, 2, 2] }), 'unsupported'],
    ['offsets that do not fit the shape', tensor({ data_offsets: [0, 31] }), 'bad_model'],
    ['offsets past the end', tensor({ data_offsets: [48, 80] }), 'bad_model'],
    ['negative sizes', tensor({ shape: [-2, -4] }), 'bad_model'],
    ['a product that overflows', tensor({ shape: [2 ** 40, 2 ** 40] }), 'bad_model'],
    ['nothing at all', tensor({ shape: undefined }), 'bad_model'],
    ['overlapping tensors', { ...tensor(), b: { dtype: 'F32', shape: [8], data_offsets: [16, 48] } }, 'bad_model'],
    ['an array', '[1]', 'bad_model'],
    ['no JSON', '{"a":', 'bad_model'],
  ])('%s', async (_, head, code) => {
    await expect(read(file(head))).rejects.toMatchObject({ name: 'ForetokenError', code })
  })

  test('a head longer than the file, and a file of another format', async () => {
    const bytes = file(tensor())
    new DataView(bytes.buffer).setBigUint64(0, 2n ** 63n, true)
    await expect(read(bytes)).rejects.toMatchObject({ code: 'bad_model' })
    await expect(read(Uint8Array.of(1, 2))).rejects.toMatchObject({ code: 'bad_model' })
  })

  test('mutated files give tensors or one typed error', async () => {
    const whole = file({ ...tensor(), b: { dtype: 'F16', shape: [16], data_offsets: [32, 64] } })
    const change = fc.record({ at: fc.nat(whole.length - 1), value: fc.nat(255) })
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 6 }), async (changes) => {
        const bytes = whole.slice()
        for (const { at, value } of changes) bytes[at] = value
        await read(bytes).catch((error: unknown) => {
          if (!(error instanceof ForetokenError)) throw error
        })
      }),
      { numRuns: 500 },
    )
  })
})
