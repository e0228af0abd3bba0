/** The WebGPU backend on Vulkan in software, against the same oracle as the Wasm core: with subgroups, and without. */
import { afterAll, describe, expect, test } from 'vitest'
import type { Backend, Weight } from '../../../src/backend/backend.ts'
import type { TensorType } from '../../../src/base/model.ts'
import { randomBlocks, written } from '../../helpers/blocks.ts'
import { random } from '../../helpers/random.ts'
import { softwareBackend } from '../../helpers/webgpu.ts'
import { runBackendSuite } from '../../suites/backend.ts'
import { runPagesSuite } from '../../suites/pages.ts'

runBackendSuite('webgpu', () => softwareBackend(['subgroups']), { activations: 'f32' })
runBackendSuite('webgpu with subgroups', () => softwareBackend(), { activations: 'f32' })

runPagesSuite('webgpu', () => softwareBackend())

describe('a weight larger than a binding', () => {
  const opened: Backend[] = []
  afterAll(() => Promise.all(opened.map((backend) => backend.close())))
  const [n, k] = [75, 64]

  /** Buffers of at most `weightBytes` of a weight. */
  async function limited(weightBytes?: number): Promise<Backend> {
    const backend = await softwareBackend([], weightBytes === undefined ? {} : { weightBytes })
    opened.push(backend)
    backend.prepare({ tokens: 64, maxK: k, headDim: 64, groups: [1] })
    return backend
  }

  function weightOf(backend: Backend, type: TensorType): Weight {
    return written(backend.weight({ name: 'w', type, n, k }), randomBlocks(type, n * k, random(5)))
  }

  test.each(['q4_1', 'f16'] as const)('%s: split in parts, it gives the same bits', async (type) => {
    const answers = async (backend: Backend, weight: Weight) => {
      const told: Float32Array[] = []
      for (const rows of [1, 5, 40, 70]) {
        const x = backend.tensor(rows, k)
        const out = backend.tensor(rows, n)
        backend.write(x, 0, random(rows).floats(rows * k))
        backend.matmul(out, x, [weight], rows)
        backend.matmulAdd(out, x, weight, rows)
        told.push(await backend.read(out, rows))
      }
      const ids = [0, 1, 17, 36, 37, 38, 73, 74]
      const embedded = backend.tensor(ids.length, k)
      backend.embed(embedded, weight, ids)
      told.push(await backend.read(embedded, ids.length))
      return told
    }
    const whole = await limited()
    const uncut = weightOf(whole, type) as Weight & { parts: readonly unknown[] }
    const want = await answers(whole, uncut)
    expect(uncut.parts).toHaveLength(1)
    // Room for 20 outputs beside what alignment takes; the last part is smaller.
    const bytes = { q4_1: 40, f16: 128 }[type]
    const small = await limited(20 * bytes + 256)
    const cut = weightOf(small, type) as typeof uncut
    expect(cut.parts).toHaveLength(4)
    expect(await answers(small, cut)).toEqual(want)
  })
})
