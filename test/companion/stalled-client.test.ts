/**
 * A client that stops reading a stream is dropped by the server, and everything held for its answer
 * is released.
 */
import { afterAll, expect, test } from 'vitest'
import { createApp } from '../../edge/index.ts'
import { loadWasm } from '../../node/wasm.ts'
import { type AnyEngine, Engine, type Fetch, OrtEngine } from '../../src/index.ts'
import { memoryFiles } from '../../src/model/source.ts'
import { companionOf, pairKey } from '../helpers/companion.ts'
import { fakeOrt } from '../helpers/fake-ort.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'

const wasm = await loadWasm('auto', 1)
const edge = await Engine.load(tinyFiles({ context: 2048 }), { wasm, kvTokens: 4096 })
const mac = await Engine.load(tinyFiles({ context: 2048 }), { wasm, kvTokens: 4096 })
afterAll(() => Promise.all([edge.close(), mac.close()]))

/** Opens streams that are not read beyond their first bytes. */
async function stalled(engine: AnyEngine, count: number, config: object = {}, fetch?: Fetch): Promise<void> {
  const app = createApp({
    engine,
    config: { listen: 'loopback', models: ['tiny'], limits: { stallSeconds: 0.3 }, ...config },
    ...(fetch && { fetch }),
  })
  const bodies = await Promise.all(
    Array.from({ length: count }, async (_, at) => {
      const response = await app.request('http://localhost/v1/completions', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({
          model: 'tiny',
          prompt: Array.from({ length: 400 }, (_, id) => (id * 7 + at) % 100),
          max_tokens: 1000,
          stream: true,
          foretoken: { ignore_eos: true },
        }),
      })
      expect(response.status).toBe(200)
      const reader = response.body!.getReader()
      await reader.read()
      return reader
    }),
  )
  expect(bodies).toHaveLength(count)
}

test("an ONNX engine's slots are released", async () => {
  const fake = fakeOrt(edge)
  const files = memoryFiles('fake', { 'model.onnx': new Uint8Array(1) })
  const engine = await OrtEngine.load(files, { ort: fake.ort, reader: edge, maxRunning: 2, maxWaiting: 1 })
  try {
    await stalled(engine, 2)
    expect(engine.stats.running).toBe(2)
    while (engine.stats.running > 0) await new Promise((resolve) => setTimeout(resolve, 20))
    expect(fake.live).toBe(0)
    expect((await engine.result({ prompt: [1, 2, 3], maxTokens: 2, ignoreEos: true })).ids).toEqual([7, 7])
  } finally {
    await engine.close()
  }
})

test.each(['relay', 'race', 'remote'])('pages and the companion are released: %s', async (always) => {
  const companions = [{ url: 'http://mac.test', id: 'edge', key: Buffer.from(pairKey).toString('hex') }]
  await stalled(edge, 2, { companions, route: { always } }, companionOf(mac))
  const held = () =>
    [edge, mac].some(({ stats }) => stats.running + stats.waiting > 0 || stats.pages_in_use > stats.prefix_pages)
  while (held()) await new Promise((resolve) => setTimeout(resolve, 20))
})
