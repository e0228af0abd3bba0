/** Loading weights: what can't fit is refused before anything is touched, and the host is served meanwhile. */
import { describe, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { createWasmBackend } from '../../src/backend/wasm/backend.ts'
import { Engine, type TensorType } from '../../src/index.ts'
import { sparseModel } from '../helpers/sparse-model.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'

const wasm = await loadWasm('auto', 1)

describe('weights too large for a wasm memory', () => {
  test.each<[string, TensorType, readonly [number, number], number]>([
    ['a tensor of exactly 2 GiB', 'f32', [512, 2 ** 20], 2 ** 31],
    ['a tensor of 2.2 GB', 'f32', [544, 2 ** 20], 2_281_701_376],
    ['a tensor of exactly 4 GiB', 'f32', [1024, 2 ** 20], 2 ** 32],
    ['a tensor of 4.3 GB, little more than 4 GiB', 'f32', [1056, 1_020_000], 4_308_480_000],
    ['a tensor of 2.3 GB in 8 bits', 'q8_0', [2048, 2 ** 20], 2_281_701_376],
  ])('%s is refused with its size before anything is read or allocated', async (_, type, dims, bytes) => {
    const name = 'token_embd.weight'
    const { files, read } = sparseModel(name, type, dims, { hidden: dims[0], layers: 1, type: 'q8_0' })
    const backend = await createWasmBackend({ modules: wasm })
    const before = backend.memory()
    const loading = Engine.load(files, { wasm, backend })
    await expect(loading).rejects.toMatchObject({ code: 'out_of_memory' })
    await expect(loading).rejects.toThrow(`takes ${bytes} bytes`)
    await expect(loading).rejects.toThrow(name)
    expect(read).toEqual([])
    expect(backend.memory()).toEqual(before)
  })

  test('weights that fit singly but not together are refused with their sum', async () => {
    const { files, read } = sparseModel('token_embd.weight', 'f32', [512, 1_045_000], { hidden: 512, layers: 1 })
    const backend = await createWasmBackend({ modules: wasm })
    // Memory already in use counts.
    const held = backend.tensor(2 ** 14, 2 ** 15 - 1)
    const before = backend.memory()
    const loading = Engine.load(files, { wasm, backend, passTokens: 16 })
    await expect(loading).rejects.toMatchObject({ code: 'out_of_memory' })
    await expect(loading).rejects.toThrow(/the weights take 21\d{8} bytes, .* has 21\d{8} left/)
    expect(read).toEqual([])
    expect(backend.memory()).toEqual(before)
    backend.release(held)
  })

  test('a tensor with more elements than the core can count is refused', async () => {
    const backend = await createWasmBackend({ modules: wasm })
    const spec = { name: 'w', type: 'f32' as const, n: 2 ** 32, k: 64 }
    for (const refused of [() => backend.weight(spec), () => backend.expectWeights([spec], 0)])
      expect(refused).toThrow(expect.objectContaining({ code: 'out_of_memory' }))
    expect(() => backend.expectWeights([{ ...spec, n: 1, k: 2 ** 29 }], 0)).toThrow('2147483648 bytes')
    expect(() => backend.prepare({ tokens: 16, maxK: 2 ** 31, headDim: 64, groups: [1] })).toThrow(
      expect.objectContaining({ code: 'out_of_memory' }),
    )
    expect(() => backend.tensor(2 ** 15, 2 ** 15)).toThrow('4294967296 bytes')
    await backend.close()
  })
})

describe('while weights are read', () => {
  // 64 MiB, from a source that answers at once.
  const large = () => sparseModel('token_embd.weight', 'f32', [256, 2 ** 16])

  test('the event loop turns', async () => {
    let turns = 0
    const count = () => {
      turns++
      again = setImmediate(count)
    }
    let again = setImmediate(count)
    const { files, read } = large()
    const engine = await Engine.load(files, { wasm })
    clearImmediate(again)
    expect(read.reduce((sum, bytes) => sum + bytes, 0)).toBe(2 ** 26)
    expect(turns).toBeGreaterThanOrEqual(3)
    await engine.close()
  })

  test('a signal stops loading, and the rest is not read', async () => {
    const { files, read } = large()
    const controller = new AbortController()
    const loading = Engine.load(files, { wasm, signal: controller.signal })
    const watch = setInterval(() => read.length > 0 && controller.abort(), 0)
    await expect(loading).rejects.toMatchObject({ code: 'aborted' })
    clearInterval(watch)
    expect(read.reduce((sum, bytes) => sum + bytes, 0)).toBeLessThan(2 ** 26)
    const late = Engine.load(tinyFiles(), { wasm, signal: AbortSignal.abort() })
    await expect(late).rejects.toMatchObject({ code: 'aborted' })
  })
})
