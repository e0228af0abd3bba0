/** What every backend's KV pools and balance of memory must do. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Backend } from '../../src/backend/backend.ts'
import { random } from '../helpers/random.ts'

export function runPagesSuite(name: string, open: () => Promise<Backend>): void {
  describe(`${name}: pages`, () => {
    let backend: Backend
    beforeAll(async () => {
      backend = await open()
      backend.prepare({ tokens: 16, maxK: 64, headDim: 16, groups: [1] })
    })
    afterAll(() => backend.close())

    /** Parts that add up to the whole, or the test fails. */
    function balance() {
      const { total, weights, pools, tables, free } = backend.memory()
      expect(weights + pools + tables + free).toBe(total)
      expect(total).toBe(backend.memoryBytes())
      return { total, weights, pools, tables, free }
    }

    test('two pools that grow and shrink alternately keep their content, and the balance shows it', async () => {
      const rng = random(4)
      const pools = [2, 3].map((layers) => backend.kvPool({ type: 'f16', layers, kvHeads: 2, headDim: 16 }))
      const held = pools.map(() => new Map<number, Uint8Array>())
      const before = balance()
      for (let round = 0; round < 12; round++) {
        for (const [index, pool] of pools.entries()) {
          // Large at first, then small, and large again.
          const wanted = [20, 45, 2, 0, 30, 1][(round + index) % 6]!
          const kept = held[index]!
          while (kept.size < wanted)
            for (const page of pool.add(wanted - kept.size)) {
              expect(kept.has(page)).toBe(false)
              const bytes = Uint8Array.from({ length: pool.pageBytes }, () => rng.below(256))
              pool.writePage(page, bytes)
              kept.set(page, bytes)
            }
          const gone = [...kept.keys()].sort(() => rng.unit() - 0.5).slice(wanted)
          pool.remove(gone)
          for (const page of gone) kept.delete(page)
          expect(pool.pages).toBe(wanted)
          for (const page of gone) await expect(pool.readPage(page)).rejects.toMatchObject({ code: 'internal' })
        }
        const used = pools.reduce((sum, { pages, pageBytes }) => sum + pages * pageBytes, 0)
        expect(balance().pools - before.pools).toBe(used)
        for (const [index, pool] of pools.entries())
          for (const [page, bytes] of held[index]!) expect(await pool.readPage(page)).toEqual(bytes)
      }
    })

    test('a weight counts as one until it is released, and leaves nothing', () => {
      const before = balance()
      const writer = backend.weight({ name: 'w', type: 'f32', n: 64, k: 64 })
      for (let left = 64 * 64 * 4; left > 0; ) {
        const into = writer.reserve(left)
        writer.commit(into.length)
        left -= into.length
      }
      const weight = writer.finish()
      expect(balance().weights - before.weights).toBeGreaterThanOrEqual(64 * 64 * 4)
      backend.release(weight)
      expect(balance().weights).toBe(before.weights)
      expect(balance().tables).toBe(before.tables)
    })
  })
}
