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
    await expect(loading).rejects.toThrow(
      /the weights take 21\d{8} bytes, .*: \d+ more than the 21\d{8} that are left of a wasm memory's 4 GiB/,
    )
    expect(read).toEqual([])
    expect(backend.memory()).toEqual(before)
    backend.release(held)
  })

  test('a file of 3.9 GiB fits, and one byte more than fits does not', async () => {
    const backend = await createWasmBackend({ modules: wasm })
    const { total, free } = backend.memory()
    const room = 65_535 * 65_536 - (total - free)
    // 24 matrices of 8 bits are as large in memory as in their file.
    const specs = Array.from({ length: 24 }, (_, i) => ({ name: `m${i}`, type: 'q8_0' as const, n: 40_000, k: 4096 }))
    const bytes = (24 * 40_000 * 4096 * 34) / 32
    expect(bytes).toBeGreaterThan(3.89 * 2 ** 30)
    const stages = 2 * 2 ** 18
    expect(() => backend.expectWeights(specs, room - bytes - stages + 1)).toThrow(
      expect.objectContaining({
        code: 'out_of_memory',
        message: expect.stringContaining(`: 1 more than the ${room} `),
      }),
    )
    expect(backend.memory().total).toBe(total)
    backend.expectWeights(specs, room - bytes - stages)
    expect(backend.memory()).toMatchObject({ total: 65_535 * 65_536, free: free + 65_535 * 65_536 - total })
    // What was expected can be had, to the byte.
    for (const spec of specs) backend.weight(spec)
    await backend.close()
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

describe('the memory of the host', () => {
  const { files, read } = sparseModel('token_embd.weight', 'q8_0', [256, 50_000], { layers: 1 })

  test('weights that take more are refused before any is read, with what is missing', async () => {
    let needed = 0
    const refused = Engine.load(files, { wasm, room: () => 1e6 })
    await expect(refused).rejects.toMatchObject({ code: 'out_of_memory' })
    await refused.catch(({ message }) => {
      const [, weights, reading, pass, missing] = message.match(
        /^the weights take (\d+) bytes, reading them (\d+) and a pass (\d+): (\d+) more than the 1000000 of memory that are free; end/,
      )
      needed = Number(missing) + 1e6
      expect(needed).toBe(Number(weights) + Number(reading) + Number(pass))
    })
    await expect(Engine.load(files, { wasm, room: () => needed - 1 })).rejects.toThrow(': 1 more than')
    expect(read).toEqual([])
    const engine = await Engine.load(files, { wasm, room: () => needed })
    expect(read.length).toBeGreaterThan(0)
    await engine.close()
  })

  test.each([Number.NaN, '1e9', undefined, -1])('a room of %s is refused', async (room) => {
    const loading = Engine.load(files, { wasm, room: () => room as number })
    await expect(loading).rejects.toMatchObject({ code: 'bad_argument' })
    await expect(loading).rejects.toThrow('what room gives')
  })
})

describe('while weights are read', () => {
  // 64 MiB, from a source that answers at once.
  const large = () => sparseModel('token_embd.weight', 'f32', [256, 2 ** 16])

  test('progress is told within a large tensor, and ends at the total', async () => {
    const told: number[] = []
    const totals = new Set<number>()
    const onProgress = (done: number, total: number) => {
      told.push(done)
      totals.add(total)
    }
    const engine = await Engine.load(large().files, { wasm, onProgress })
    await engine.close()
    expect(told).toEqual([...told].sort((a, b) => a - b))
    expect([...totals]).toEqual([told.at(-1)])
    const steps = told.map((done, index) => done - (told[index - 1] ?? 0))
    expect(Math.max(...steps)).toBeLessThanOrEqual(17 * 2 ** 20)
  })

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
