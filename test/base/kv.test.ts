/** The layout of a page is computed once, and is that of the Rust core. */

import { expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { kvTypeIds } from '../../src/backend/wasm/abi.ts'
import { selectCore } from '../../src/backend/wasm/select.ts'
import { type KvType, pageLayout } from '../../src/base/kv.ts'
import fc from '../helpers/properties.ts'

const { kernels } = await selectCore(await loadWasm('simd128'), 'simd128', false)

test('every layer has the size that the core reports, one after the other', () => {
  fc.assert(
    fc.property(
      fc.constantFrom<KvType>('f32', 'f16', 'int8'),
      fc.integer({ min: 1, max: 32 }),
      fc.array(fc.record({ kvHeads: fc.integer({ min: 1, max: 16 }), convolution: fc.boolean() }), {
        minLength: 1,
        maxLength: 8,
      }),
      (type, eighths, shapes) => {
        const headDim = eighths * 8
        const { layers, bytes } = pageLayout({ headDim, layers: shapes }, type)
        let at = 0
        for (const [index, { kvHeads, convolution }] of shapes.entries()) {
          const held = convolution && type === 'int8' ? 'f16' : type
          const own = kernels.kv_layer_bytes(kvTypeIds[held], kvHeads, headDim)
          expect(layers[index]).toEqual({ at, bytes: own, kvHeads, convolution, type: held })
          at += own
        }
        expect(bytes).toBe(at)
      },
    ),
  )
})

test('a pool refuses a core with another page layout', async () => {
  const { WasmKvPool } = await import('../../src/backend/wasm/kv-pool.ts')
  const { arena } = await selectCore(await loadWasm('simd128'), 'simd128', false)
  const other = { ...kernels, kv_layer_bytes: () => 64 }
  const spec = { type: 'f16', layers: 2, kvHeads: 2, headDim: 16 } as const
  expect(() => new WasmKvPool(arena, other, spec)).toThrow(/takes 2048 bytes here and 64 in the core/)
})
