/** The plan of memory, held against what an engine takes; and what deploy-prep refuses. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { fitted, memoryPlan } from '../../edge/budget.ts'
import { loadPrepared } from '../../edge/prepared.ts'
import { findModel, folderFiles, shippedPredictor } from '../../node/index.ts'
import { folderStore, prepare } from '../../node/prepare.ts'
import { loadWasm } from '../../node/wasm.ts'
import { Engine, memorySource, openModel } from '../../src/index.ts'
import { writePredictor } from '../../src/predict/file.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { tinyPredictor } from '../helpers/tiny-predictor.ts'

const wasm = await loadWasm('simd128')
const folder = mkdtempSync(join(tmpdir(), 'foretoken-deploy-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const text = 'A text that comes again in many prompts, and is kept for them.'

test('chunks are counted, and those of another model are refused', async () => {
  const maker = await Engine.load(tinyFiles({ type: 'q8_0' }), { wasm })
  const chunks = memorySource('docs.chunks', await maker.saveChunks([text]))
  const out = join(folder, 'chunks')
  const { plan, settings, files } = await prepare(tinyFiles({ type: 'q8_0' }), out, { context: 128, chunks: [chunks] })
  expect(files).toContain('chunks-0-000.bin')
  expect([plan.chunks, settings.chunkBytes]).toEqual([2 * text.length * 2 * 256, plan.chunks])
  const engine = await loadPrepared(folderStore(out), { wasm })
  await engine.close()
  await maker.close()
  const least = plan.total - 1
  await expect(
    prepare(tinyFiles({ type: 'q8_0' }), join(folder, 'less'), {
      context: 128,
      streams: 1,
      chunks: [chunks],
      limit: least / 4,
    }),
  ).rejects.toMatchObject({ code: 'out_of_memory' })
  await expect(
    prepare(tinyFiles({ type: 'q8_0', seed: 3 }), join(folder, 'other'), { context: 128, chunks: [chunks] }),
  ).rejects.toMatchObject({ code: 'wrong_model' })
  expect(readdirSync(folder)).not.toContain('other')
})

const settings = { context: 256, kvTokens: 512, kv: 'int8', passTokens: 64, streams: 2 } as const

describe('the plan', () => {
  test.each(['f32', 'f16', 'int8'] as const)(
    'predicts the wasm memory of a full engine within 1 MB: %s',
    async (kv) => {
      const archive = await openModel(tinyFiles({ type: 'q8_0', context: 512 }))
      const plan = memoryPlan({ ...archive, predictor: 0 }, { ...settings, kv })
      const engine = await Engine.load(tinyFiles({ type: 'q8_0', context: 512 }), {
        wasm,
        ...settings,
        kv,
        prefixBytes: 0,
      })
      const ids = Array.from({ length: 250 }, (_, i) => i % 200)
      const sessions = await engine.prefillMany([ids, ids.map((id) => id + 1)])
      expect(engine.pageBytes * 32).toBe(plan.kv)
      const planned = plan.vocabulary + plan.layers + plan.kv + plan.activations
      expect(Math.abs(engine.backend.memoryBytes() - planned)).toBeLessThan(1 << 20)
      for (const session of sessions) session.release()
      await engine.close()
    },
  )

  test('gives K and V what is left, and refuses with the numbers', async () => {
    const archive = await openModel(tinyFiles({ type: 'q8_0', context: 512 }))
    const model = { ...archive, predictor: 0 }
    const wanted = { context: 256, kv: 'int8', passTokens: 32, streams: 4 } as const
    const { kvTokens } = fitted('tiny', model, wanted).settings
    expect(kvTokens).toBe(4 * 256)
    const least = memoryPlan(model, { ...wanted, kvTokens: 256 }).total
    expect(fitted('tiny', model, wanted, least).settings.kvTokens).toBe(256)
    expect(() => fitted('tiny', model, wanted, least - 1)).toThrow(
      expect.objectContaining({
        code: 'out_of_memory',
        message: expect.stringMatching(/vocabulary .* kv .* of .* MB/),
      }),
    )
  })
})

describe('deploy-prep', () => {
  const files = tinyFiles({ type: 'q8_0', layers: 7 })
  const answer = async (engine: Engine, prefill: 'exact' | 'predicted') => {
    const prompt = Array.from({ length: 120 }, (_, i) => (i * 7) % 250)
    const { ids } = await engine.submit({ prompt, prefill, maxTokens: 8, ignoreEos: true }).result()
    await engine.close()
    return ids
  }

  test('writes shards that load as the same engine, including the predictor', async () => {
    const bare = await Engine.load(files, { wasm })
    const predictor = memorySource('predictor', await writePredictor(tinyPredictor(bare.identity)))
    await bare.close()
    const out = join(folder, 'whole')
    const done = await prepare(files, out, { predictor, shardBytes: 1 << 20, context: 200, kv: 'f32' })
    expect(readdirSync(out).sort()).toEqual([...done.files].sort())
    for (const file of readdirSync(out)) expect(statSync(join(out, file)).size).toBeLessThanOrEqual(1 << 20)
    for (const prefill of ['exact', 'predicted'] as const) {
      const engine = await loadPrepared(folderStore(out), { wasm, manifestSha256: done.manifestSha256 })
      const original = await Engine.load(files, { wasm, predictor, context: 200, passTokens: 64 })
      expect(await answer(engine, prefill)).toEqual(await answer(original, prefill))
    }
  })

  test('leaves nothing behind on failure, and does not touch a folder that has files', async () => {
    const out = join(folder, 'refused')
    await expect(prepare(files, out, { limit: 1 << 20 })).rejects.toMatchObject({ code: 'out_of_memory' })
    const foreign = memorySource('predictor', await writePredictor(tinyPredictor('0'.repeat(64))))
    await expect(prepare(files, out, { predictor: foreign })).rejects.toMatchObject({ code: 'wrong_model' })
    expect(readdirSync(folder)).not.toContain('refused')
    const used = mkdtempSync(join(folder, 'used-'))
    writeFileSync(join(used, 'mine'), 'x')
    await expect(prepare(files, used)).rejects.toMatchObject({ code: 'bad_argument' })
    expect(readFileSync(join(used, 'mine'), 'utf8')).toBe('x')
  })

  test('stores as many rows in 8 bits as fit', async () => {
    const whole = await prepare(files, join(folder, 'rows-all'), { context: 64, streams: 1 })
    const cut = await prepare(files, join(folder, 'rows-some'), {
      context: 64,
      streams: 1,
      limit: whole.plan.total - 8,
    })
    expect(cut.plan.vocabulary).toBeLessThan(whole.plan.vocabulary)
    const engine = await loadPrepared(folderStore(join(folder, 'rows-some')), { wasm })
    expect(engine.archive.config.tailFrom).toBe(128)
    await engine.close()
  })
})

const model = (await findModel('smollm2-135m'))?.files[0]?.path

describe.runIf(model)('smollm2-135m (where it has been pulled)', () => {
  test('fits with its predictor and 1,024 tokens of int8 K and V only when rare tokens are in 4 bits', async () => {
    const opened = await folderFiles(model!)
    const { config, tensors, name } = await openModel(opened)
    const predictor = (await shippedPredictor('smollm2-135m'))!.size
    const wanted = { context: 1024, kv: 'int8', passTokens: 32, streams: 4 } as const
    expect(() => fitted(name, { config, tensors, predictor }, wanted)).toThrow(
      expect.objectContaining({ code: 'out_of_memory' }),
    )
    const { plannedTail } = await import('../../node/vocabulary.ts')
    const { plan, settings } = fitted(
      name,
      { ...plannedTail({ name, config, tensors } as never, 8_192), predictor },
      wanted,
    )
    expect(settings.kvTokens).toBeGreaterThanOrEqual(1024)
    expect(plan.total).toBeLessThanOrEqual(120 << 20)
    await opened.close()
  })
})
