import { afterAll, describe, expect, test } from 'vitest'
import { loadWasm } from '../../../node/wasm.ts'
import type { Tensor } from '../../../src/backend/backend.ts'
import { createWasmBackend } from '../../../src/backend/wasm/backend.ts'
import type { WasmModules } from '../../../src/backend/wasm/select.ts'
import { nodeSpawn } from '../../../workers/node.ts'
import { runBackendSuite } from '../../suites/backend.ts'
import { runPagesSuite } from '../../suites/pages.ts'

const modules: WasmModules = { ...(await loadWasm('auto', 1)), ...(await loadWasm('auto', 2)) }
const spawn = nodeSpawn(new URL('../../../workers/compute.ts', import.meta.url))

runBackendSuite('wasm simd128', () => createWasmBackend({ modules, build: 'simd128' }))
runBackendSuite('wasm relaxed', () => createWasmBackend({ modules, build: 'relaxed' }))
runBackendSuite('wasm relaxed, 3 threads', () => createWasmBackend({ modules, build: 'relaxed', threads: 3, spawn }))

runPagesSuite('wasm', () => createWasmBackend({ modules }))

describe('createWasmBackend', () => {
  const opened: { close(): Promise<void> }[] = []
  afterAll(() => Promise.all(opened.map((backend) => backend.close())))

  test('uses the relaxed build where its dot product is correct', async () => {
    const backend = await createWasmBackend({ modules })
    opened.push(backend)
    expect(backend.build).toBe('wasm-relaxed')
    expect(backend.bench?.peak(5)).toBeGreaterThan(1e9)
  })

  test('falls back to simd128 where there is no relaxed module', async () => {
    const { simd128 } = modules
    const backend = await createWasmBackend({ modules: { simd128: simd128! } })
    opened.push(backend)
    expect(backend.build).toBe('wasm-simd128')
  })

  test('refuses an unsupported host, with the reason', async () => {
    await expect(createWasmBackend({ modules: {} })).rejects.toMatchObject({ code: 'unsupported' })
    await expect(createWasmBackend({ modules, threads: 2 })).rejects.toMatchObject({ code: 'unsupported' })
    await expect(createWasmBackend({ modules, threads: 0, spawn })).rejects.toMatchObject({ code: 'bad_argument' })
  })

  test('scratch suffices for every group of heads, also where the largest needs less than a smaller one', async () => {
    const tokens = 200
    const values = Float32Array.from({ length: tokens * 384 }, (_, i) => Math.sin(i))
    const attended = async (groups: readonly number[]) => {
      const backend = await createWasmBackend({ modules })
      opened.push(backend)
      backend.prepare({ tokens, maxK: 64, headDim: 128, groups })
      // Blocks of f16 are expanded at the end of the scratch.
      const pool = backend.kvPool({ type: 'f16', layers: 1, kvHeads: 1, headDim: 128 })
      const pages = pool.add(13)
      const x = backend.tensor(tokens, 384)
      backend.write(x, 0, values)
      backend.plan([{ start: 0, length: tokens, past: 0, pages }], [{ headDim: 128, theta: 1e4, pairs: 'half' }])
      backend.writeKv(pool, 0, backend.columns(x, 128, 128), backend.columns(x, 256, 128))
      const out = backend.tensor(tokens, 128)
      backend.attention(out, backend.columns(x, 0, 128), pool, 0, { scale: 128 ** -0.5 })
      return backend.read(out, tokens)
    }
    expect(await attended([1, 97])).toEqual(await attended([1]))
  })

  test('a freed page is refused by the kernels, not written', async () => {
    const backend = await createWasmBackend({ modules })
    opened.push(backend)
    backend.prepare({ tokens: 16, maxK: 64, headDim: 16, groups: [1] })
    const pool = backend.kvPool({ type: 'f32', layers: 1, kvHeads: 1, headDim: 16 })
    const [page, other] = pool.add(2) as [number, number]
    const x = backend.tensor(16, 48)
    const [q, k, v] = [0, 16, 32].map((from) => backend.columns(x, from, 16)) as [Tensor, Tensor, Tensor]
    const out = backend.tensor(16, 16)
    const plan = (pages: readonly number[]) =>
      backend.plan([{ start: 0, length: 16, past: 0, pages }], [{ headDim: 16, theta: 1e4, pairs: 'half' }])
    plan([page])
    backend.writeKv(pool, 0, k, v)
    pool.remove([page])
    for (const call of [
      () => backend.writeKv(pool, 0, k, v),
      () => backend.attention(out, q, pool, 0, { scale: 0.25 }),
    ])
      expect(call).toThrow(expect.objectContaining({ code: 'internal' }))
    const foreign = backend.kvPool({ type: 'f32', layers: 1, kvHeads: 1, headDim: 16 })
    plan([other])
    expect(() => backend.writeKv(foreign, 0, k, v)).toThrow(/is not one of the 0/)
    backend.writeKv(pool, 0, k, v)
  })

  test('a killed worker gives one error, not a hang', async () => {
    const workers: { terminate(): Promise<void> }[] = []
    const backend = await createWasmBackend({
      modules,
      threads: 3,
      spawn: (task) => {
        const worker = spawn(task)
        workers.push(worker)
        return worker
      },
    })
    backend.prepare({ tokens: 16, maxK: 64, headDim: 8, groups: [1] })
    await workers[0]!.terminate()
    expect(() =>
      backend.plan([{ start: 0, length: 1, past: 0, pages: [0] }], [{ headDim: 8, theta: 1e4, pairs: 'half' }]),
    ).toThrow(expect.objectContaining({ code: 'worker_lost' }))
    await backend.close()
  })
})
