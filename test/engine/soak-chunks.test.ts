/** A part of `npm run soak:chunks`. */
import { expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { Engine } from '../../src/index.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { isSound, soakChunks } from '../suites/soak-chunks.ts'

test('a full chunk store evicts while chunks are read, and gives back what it held', async () => {
  const wasm = await loadWasm('auto', 1)
  const load = (options: object) => Engine.load(tinyFiles({ context: 1024 }), { wasm, kv: 'int8', ...options })
  const chunkBytes = 1 << 20
  const [engine, exact] = [await load({ chunkBytes, schedule: { maxRunning: 8 } }), await load({ prefixBytes: 0 })]
  const report = await soakChunks(engine, exact, { rounds: 60, seed: 20_261_201, chunkBytes })
  await exact.close()
  expect(isSound(report), JSON.stringify(report)).toBe(true)
  for (const kind of ['answers', 'cancelled', 'compared', 'placed_tokens', 'evictions', 'files'] as const)
    expect(report[kind], kind).toBeGreaterThan(0)
  expect(report.most_bytes).toBeGreaterThan(0.8 * chunkBytes)
}, 120_000)
