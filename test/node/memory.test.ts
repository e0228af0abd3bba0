/** What a model will take in memory, before it is loaded. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { weightBytes } from '../../edge/budget.ts'
import { loadEngine, neededBytes } from '../../node/index.ts'
import { loadableMemory } from '../../node/memory.ts'
import { loadWasm } from '../../node/wasm.ts'
import { tensorTypeIds } from '../../src/backend/wasm/abi.ts'
import { selectCore } from '../../src/backend/wasm/select.ts'
import { type TensorType, tensorBlocks } from '../../src/base/model.ts'
import { tinyGguf } from '../helpers/tiny-model.ts'

test.each(Object.keys(tensorBlocks) as TensorType[])('a matrix in %s takes what the core says', async (type) => {
  const { kernels } = await selectCore(await loadWasm('auto', 1), 'auto', false)
  const kind = kernels.weight_kind(tensorTypeIds[type])
  for (const [rows, cols] of [
    [8, 256],
    [13, 512],
    [151_936, 1024],
  ] as const)
    expect(weightBytes({ type, rows, cols })).toBe(kernels.weight_bytes(kind, rows, cols))
})

test.each<TensorType>(['q6_k', 'q4_0', 'f16'])(
  'what a model in %s will need is more than its weights',
  async (type) => {
    const folder = mkdtempSync(join(tmpdir(), 'foretoken-memory-'))
    try {
      const file = join(folder, 'model.gguf')
      writeFileSync(file, tinyGguf({ type, hidden: 1024, context: 64 }))
      const needed = await neededBytes(file)
      const engine = await loadEngine(file, { threads: 1 })
      const { weights } = engine.backend.memory()
      await engine.close()
      // The K and V of a context, and what does not depend on the model.
      const beside = needed - weights - 2 * 2 * 64 * 2 * 4 * 64
      expect(beside).toBeGreaterThan(0)
      expect(beside).toBeLessThanOrEqual(64e6)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  },
)

test('a model that takes more than the machine has is refused', async () => {
  expect(loadableMemory()).toBeGreaterThan(0)
  const folder = mkdtempSync(join(tmpdir(), 'foretoken-memory-'))
  try {
    const file = join(folder, 'model.gguf')
    writeFileSync(file, tinyGguf())
    const loading = loadEngine(file, { threads: 1, room: () => 1000 })
    await expect(loading).rejects.toMatchObject({ code: 'out_of_memory' })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})
