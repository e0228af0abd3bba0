/** Placed K and V against those that a pass computes: where nothing but the position differs, they are the same. */
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { folderFiles } from '../../node/model-files.ts'
import { loadWasm } from '../../node/wasm.ts'
import { wireOf } from '../../src/backend/capabilities.ts'
import { createWasmBackend } from '../../src/backend/wasm/backend.ts'
import type { KvType } from '../../src/index.ts'
import { ChunkStore } from '../../src/kv/chunk-store.ts'
import { kvOfLayers } from '../../src/kv/layers.ts'
import { PagedCache } from '../../src/kv/paged.ts'
import { LoadedModel } from '../../src/model/forward.ts'
import { openModel } from '../../src/model/open.ts'
import { pack } from '../../src/pack/pack.ts'
import { placedChunks } from '../../src/pack/placements.ts'
import { randomPrompt } from '../helpers/answers.ts'

const wasm = await loadWasm('auto', 1)
const closing: (() => Promise<void>)[] = []
afterAll(() => Promise.all(closing.map((close) => close())))

async function load(name: string, kv: KvType) {
  const files = await folderFiles(fileURLToPath(new URL(`../vectors/${name}`, import.meta.url)))
  const backend = await createWasmBackend({ modules: wasm, threads: 1 })
  closing.push(() => backend.close())
  try {
    const options = { passTokens: 64, logitRows: 1, kv, signal: undefined }
    const model = await LoadedModel.load(backend, await openModel(files), options)
    const cache = new PagedCache(model.pool, 64)
    const read = (pages: readonly number[], tokens: number) => kvOfLayers(wireOf(backend), cache.pool, pages, tokens)
    return { model, cache, read }
  } finally {
    await files.close()
  }
}

const chunk = randomPrompt(50, 1)
const before = randomPrompt(37, 2)

/** Layer 0 sees no other tokens, so its K and V depend on the token and its position alone. */
describe.each([
  'tiny-llama3',
  'tiny-qwen3',
  'tiny-gemma2',
  'tiny-olmo2',
  'tiny-smollm3',
  'tiny-exaone4-windows',
  'tiny-phi3',
  'tiny-hunyuan-dense',
])('the first layer of %s', (name) => {
  test.each([0, 5, 37])('has at new places what exact prefill has there, with %i tokens before them', async (count) => {
    const { model, cache, read } = await load(name, 'f32')
    const store = new ChunkStore(1e9, model.kvWidths)
    const sinks = before.slice(0, 3)
    const reader = store.reader(sinks.length, chunk.length)
    const alone = cache.open()
    await model.forward(pack([{ sequence: alone, ids: [...sinks, ...chunk], outputs: 'none', reader }]))
    expect(await store.keep('', chunk, reader)).toBe(true)

    const ids = [...before.slice(0, count), ...chunk, 7]
    const [placed, exact] = [cache.open(), cache.open()]
    const placements = [{ from: count, to: count + chunk.length, kv: store.get('', chunk)!, at: 0 }]
    const range = { from: 0, to: ids.length, outputs: 'none' } as const
    await model.forward(pack(placedChunks(placed, ids, placements, range)))
    for (let from = 0; from < ids.length; from += 64)
      await model.forward(pack([{ sequence: exact, ids: ids.slice(from, from + 64), outputs: 'none' }]))
    const [got, want] = [await read(placed.pages, ids.length), await read(exact.pages, ids.length)]
    // A component is rounded to binary16, by 2 ** -11 of itself, then normed by a norm that its head
    // changes by as much, and then turned with its pair. So no head is further away than this.
    const { headDim } = model.config
    for (const part of ['k', 'v'] as const)
      for (let head = 0; head < want[0]![part].length; head += headDim) {
        const [a, b] = [got, want].map((layers) => layers[0]![part].subarray(head, head + headDim)) as [
          Float32Array,
          Float32Array,
        ]
        const distance = Math.hypot(...a.map((value, i) => value - b[i]!))
        expect(distance).toBeLessThanOrEqual(3 * 2 ** -11 * Math.hypot(...b) + 1e-6)
      }
    for (const sequence of [alone, placed, exact]) sequence.release()
  })
})

test('placed tokens are written into every layer, in passes of any size', async () => {
  const { model, cache, read } = await load('tiny-qwen2', 'f32')
  const store = new ChunkStore(1e9, model.kvWidths)
  const reader = store.reader(0, chunk.length)
  const alone = cache.open()
  await model.forward(pack([{ sequence: alone, ids: chunk, outputs: 'none', reader }]))
  await store.keep('', chunk, reader)
  // Three times in a row, more than a pass has: each at another place, from another token on.
  const ids = [...before, ...chunk, ...chunk, ...chunk.slice(20), 7]
  const kv = store.get('', chunk)!
  const [one, two, three] = [37, 87, 137]
  const placements = [
    { from: one, to: two, kv, at: 0 },
    { from: two, to: three, kv, at: 0 },
    { from: three, to: three + 30, kv, at: 20 },
  ]
  const sequence = cache.open()
  await model.forward(pack(placedChunks(sequence, ids, placements, { from: 0, to: ids.length, outputs: 'none' })))
  const [got, kept] = [await read(sequence.pages, ids.length), await read(alone.pages, chunk.length)]
  const { headDim, kvHeads } = model.config
  // V is not turned, so it is the same everywhere.
  for (const layer of [0, 1])
    for (let head = 0; head < kvHeads; head++)
      for (const { from, to, at } of placements)
        for (let i = 0; i < to - from; i++) {
          const here = got[layer]!.v.subarray((head * ids.length + from + i) * headDim).subarray(0, headDim)
          const there = kept[layer]!.v.subarray((head * chunk.length + at + i) * headDim).subarray(0, headDim)
          for (let d = 0; d < headDim; d++)
            expect(Math.abs(here[d]! - there[d]!)).toBeLessThanOrEqual(2 ** -11 * Math.abs(there[d]!) + 2 ** -25)
        }
  for (const one of [alone, sequence]) one.release()
})
