/** Tests that a weight depends on its file's bytes only, and not on what the memory held before. */

import { describe, expect, test } from 'vitest'
import { loadWasm } from '../../../node/wasm.ts'
import { selectCore } from '../../../src/backend/wasm/select.ts'
import { type WasmWeight, weightWriter } from '../../../src/backend/wasm/weights.ts'
import { type TensorType, tensorBlocks } from '../../../src/base/model.ts'

describe('weightWriter', () => {
  for (const type of ['f32', 'f16', 'q4_1', 'q8_0', 'q6_k'] as const)
    for (const n of [16, 13])
      test(`${type}, ${n} rows: memory that was used before changes no byte`, async () => {
        expect(await weightBytes(type, n, 0xff)).toEqual(await weightBytes(type, n, undefined))
      })
})

/** Returns the bytes of a weight, written to memory that was filled with `dirt` and freed, or to fresh memory. */
async function weightBytes(type: TensorType, n: number, dirt: number | undefined): Promise<Uint8Array> {
  const { kernels, arena } = await selectCore(await loadWasm('simd128', 1), 'simd128', false)
  if (dirt !== undefined) {
    const before = arena.alloc(1 << 20, 'tables')
    arena.bytes.fill(dirt, before, before + (1 << 20))
    arena.free(before)
  }
  const k = 512
  const block = tensorBlocks[type]
  const file = new Uint8Array(((n * k) / block.elements) * block.bytes).map((_, i) => (i * 2_654_435_761) >>> 13)
  const writer = weightWriter(kernels, arena, { name: 'w', type, n, k })
  for (let done = 0; done < file.length; ) {
    const room = writer.reserve(file.length - done)
    room.set(file.subarray(done, done + room.length))
    writer.commit(room.length)
    done += room.length
  }
  const { at, kind } = writer.finish() as WasmWeight
  return arena.bytes.slice(at, at + kernels.weight_bytes(kind, n, k))
}
