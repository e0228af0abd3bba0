/** Loading and running inside workerd, weights in a local R2, under the memory of an isolate. */
import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createTestHarness, type TestHarness } from 'wrangler'
import { loadPrepared } from '../../edge/prepared.ts'
import { findModel, folderFiles, shippedPredictor } from '../../node/index.ts'
import { folderStore, prepare } from '../../node/prepare.ts'
import { loadWasm } from '../../node/wasm.ts'
import { Engine, memorySource } from '../../src/index.ts'
import { writePredictor } from '../../src/predict/file.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { tinyPredictor } from '../helpers/tiny-predictor.ts'

interface Bucket {
  put(key: string, value: Uint8Array): Promise<unknown>
  delete(key: string): Promise<void>
}

const config = fileURLToPath(new URL('./worker/wrangler.toml', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'foretoken-worker-'))
const out = join(folder, 'tiny')
/** Without room for the grammar engine. */
const plain = join(folder, 'plain')
/** With chunks. */
const known = join(folder, 'known')
const files = tinyFiles({ type: 'q8_0', layers: 7 })
const texts = ['The mill at the river burnt down twice.', 'A harbour needs a wall, a light and a dog.']
const saved = { ...process.env }
let harness: TestHarness

async function start(): Promise<void> {
  harness = createTestHarness({ workers: [{ configPath: config }] })
  await harness.listen()
}

async function bucket(): Promise<Bucket> {
  return ((await harness.getWorker().getEnv()) as { WEIGHTS: Bucket }).WEIGHTS
}

async function upload(from: string): Promise<void> {
  const weights = await bucket()
  for (const file of readdirSync(from)) await weights.put(file, readFileSync(join(from, file)))
}

async function ask(request: object): Promise<{ ids?: number[]; error?: { code: string; message: string } }> {
  const response = await harness.fetch('/generate', { method: 'POST', body: JSON.stringify(request) })
  return (await response.json()) as Awaited<ReturnType<typeof ask>>
}

const prompt = Array.from({ length: 120 }, (_, i) => (i * 7) % 250)
const request = { prompt, maxTokens: 8, ignoreEos: true }

beforeAll(async () => {
  process.env.WRANGLER_SEND_METRICS = 'false'
  process.env.MINIFLARE_WORKERD_V8_FLAGS = '--wasm-max-mem-pages=1920 --max-old-space-size=128'
  const wasm = await loadWasm('simd128')
  const bare = await Engine.load(files, { wasm })
  const predictor = memorySource('predictor', await writePredictor(tinyPredictor(bare.identity)))
  await bare.close()
  await prepare(files, out, { predictor, shardBytes: 1 << 20, context: 200, guides: true })
  await prepare(files, plain, { shardBytes: 1 << 20, context: 200 })
  const maker = await Engine.load(files, { wasm, kv: 'int8' })
  const chunks = memorySource('docs.chunks', await maker.saveChunks(texts))
  await maker.close()
  await prepare(files, known, { shardBytes: 1 << 20, context: 200, chunks: [chunks] })
})
afterAll(() => {
  process.env = saved
  rmSync(folder, { recursive: true, force: true })
})

describe('a Worker with a tiny model in R2', () => {
  beforeEach(async () => {
    await start()
    await upload(out)
    return () => harness.close()
  })

  test('answers as the library does, concurrently, exact and predicted', async () => {
    const engine = await loadPrepared(folderStore(out), { wasm: await loadWasm() })
    for (const prefill of ['exact', 'predicted', 'refined'] as const) {
      const { ids } = await engine.submit({ ...request, prefill }).result()
      const all = await Promise.all([0, 1, 2].map(() => ask({ ...request, prefill })))
      for (const answer of all)
        expect(answer, prefill).toMatchObject({ ids: prefill === 'refined' ? expect.any(Array) : ids })
    }
    await engine.close()
  })

  test('gives answers the shape that is asked for, if it was prepared with room for grammars', async () => {
    const guide = { kind: 'choice', choices: ['north', 'south'] }
    const answer = (await ask({ prompt, maxTokens: 20, guide })) as { text?: string }
    expect(['north', 'south']).toContain(answer.text)
    expect(await ask({ prompt, guide: { kind: 'regex', regex: '(' } })).toMatchObject({
      error: { code: 'bad_argument' },
    })
  })

  test('refuses a shape if it was not', async () => {
    await upload(plain)
    expect(await ask({ prompt, guide: { kind: 'json_object' } })).toMatchObject({ error: { code: 'unsupported' } })
    expect((await ask(request)).ids).toHaveLength(8)
  })

  test('that starts cold places chunks that it has not computed', async () => {
    await upload(known)
    const parts = [[...prompt.slice(0, 20)], ...texts.toReversed().map((text) => [...Buffer.from(text)]), [1, 2, 3]]
    const ids = parts.flat()
    const [opening, first, second] = parts.map(({ length }) => length) as [number, number, number]
    const ranges = [
      { from: opening, to: opening + first },
      { from: opening + first, to: opening + first + second },
    ]
    const marked = { prompt: ids, chunks: ranges, prefill: 'predicted', maxTokens: 8, ignoreEos: true } as const
    const wasm = await loadWasm()
    // Computed here, as another prompt brought them.
    const here = await Engine.load(files, { wasm, kv: 'int8', context: 200, prefixBytes: 0 })
    await here.submit({ ...marked, maxTokens: 1 }).result()
    await here.keepChunks()
    const want = await here.submit(marked).result()
    await here.close()
    expect(want.placed_tokens).toBe(first + second - 16)
    expect(await ask(marked)).toMatchObject({ ids: want.ids, placed_tokens: want.placed_tokens, prefill: 'predicted' })
    // Others are not kept: memory is planned for those of the file.
    const { chunks, settings } = JSON.parse(readFileSync(join(known, 'manifest.json'), 'utf8'))
    expect(chunks).toHaveLength(1)
    expect(settings.chunkBytes).toBe(7 * (first + second) * 2 * 256)
  })

  test('refuses chunks that were altered', async () => {
    await upload(known)
    const bytes = readFileSync(join(known, 'chunks-0-000.bin'))
    bytes[bytes.length - 5]! ^= 1
    await (await bucket()).put('chunks-0-000.bin', bytes)
    expect(await ask(request)).toMatchObject({ error: { code: 'checksum' } })
  })

  test('reports which shard is missing, and answers once it is there', async () => {
    const weights = await bucket()
    await weights.delete('weights-001.bin')
    expect(await ask(request)).toMatchObject({
      error: { code: 'not_found', message: expect.stringContaining('weights-001.bin') },
    })
    await weights.put('weights-001.bin', readFileSync(join(out, 'weights-001.bin')))
    expect((await ask(request)).ids).toHaveLength(8)
  })

  test('refuses a shard with an altered byte', async () => {
    const bytes = readFileSync(join(out, 'weights-001.bin'))
    bytes[1234]! ^= 64
    await (await bucket()).put('weights-001.bin', bytes)
    expect(await ask(request)).toMatchObject({ error: { code: 'checksum' } })
  })

  test('refuses a truncated shard', async () => {
    const bytes = readFileSync(join(out, 'weights-000.bin'))
    await (await bucket()).put('weights-000.bin', bytes.subarray(0, 777_777))
    expect(await ask(request)).toMatchObject({ error: { code: 'io' } })
  })

  test('refuses an invalid manifest', async () => {
    await (await bucket()).put('manifest.json', new TextEncoder().encode('{}'))
    expect(await ask(request)).toMatchObject({ error: { code: 'bad_model' } })
  })

  test('frees its pages when requests end', async () => {
    await Promise.all(
      Array.from({ length: 12 }, (_, n) => ask({ ...request, prompt: prompt.map((id) => (id + n) % 250) })),
    )
    const stats = (await (await harness.fetch('/stats')).json()) as Record<string, number>
    expect(stats).toMatchObject({ running: 0, waiting: 0 })
    expect(stats.pages_in_use).toBe(stats.prefix_pages)
  })
})

const model = (await findModel('smollm2-135m'))?.files[0]?.path

describe.runIf(model)('a Worker with smollm2-135m (where it has been pulled)', () => {
  test('fits with its predictor, full contexts and 4 streams under the memory limit', async () => {
    const prepared = join(folder, 'default')
    const opened = await folderFiles(model!)
    const predictor = await shippedPredictor('smollm2-135m')
    const { manifestSha256, plan, files } = await prepare(opened, prepared, { predictor })
    await opened.close()
    expect(manifestSha256).toBe(
      createHash('sha256')
        .update(readFileSync(join(prepared, 'manifest.json')))
        .digest('hex'),
    )
    expect(files.length).toBeGreaterThan(4)
    await start()
    try {
      await upload(prepared)
      expect(await ask({ prompt: 'What is the capital of Norway?', maxTokens: 8 })).toMatchObject({
        text: expect.stringContaining('Oslo'),
      })
      const long = Array.from({ length: 1000 }, (_, i) => 1000 + ((i * 37) % 30_000))
      const modes = ['exact', 'refined', 'predicted', 'refined']
      const answers = await Promise.all(
        modes.map((prefill, n) => ask({ prompt: long.map((id) => id + n), prefill, maxTokens: 8, ignoreEos: true })),
      )
      for (const { ids, error } of answers) expect(ids, JSON.stringify(error)).toHaveLength(8)
      const { wasm_bytes } = (await (await harness.fetch('/stats')).json()) as { wasm_bytes: number }
      expect(wasm_bytes).toBeLessThanOrEqual(
        plan.vocabulary + plan.layers + plan.predictor + plan.kv + plan.activations,
      )
    } finally {
      await harness.close()
    }
  })
})
