/** The benchmarks run and add up; their speeds are not tested. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { benchChunks } from '../../bench/chunks.ts'
import { lognormalLengths } from '../../bench/lengths.ts'
import { benchModes } from '../../bench/modes.ts'
import { benchPrepack, prepackRoom } from '../../bench/prepack.ts'
import { capacityOf, replay } from '../../bench/replay.ts'
import { Engine, loadWasm } from '../../node/index.ts'
import { memorySource } from '../../src/model/source.ts'
import { writePredictor } from '../../src/predict/file.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { tinyPredictor } from '../helpers/tiny-predictor.ts'

const wasm = await loadWasm('auto', 1)
const prompts = lognormalLengths(20, 30, 1, 2, { max: 100 }).map((length, at) =>
  Array.from({ length }, (_, i) => (i * 7 + at) % 256),
)

describe('prepack', () => {
  test('reports what it ran', async () => {
    const room = prepackRoom(prompts, [4, 8])
    const engine = await Engine.load(tinyFiles(), { wasm, prefixBytes: 0, ...room })
    const rows = await benchPrepack(engine, prompts, { batches: [4, 8, 64], draws: 2, runs: 2, seed: 1 })
    expect(rows.map(({ batch, batches, prompts }) => [batch, batches, prompts])).toEqual([
      [4, 2, 8],
      [8, 2, 16],
    ])
    for (const row of rows) {
      expect(row.samples).toHaveLength(2)
      expect(row.predicted_speedup).toBeGreaterThan(1)
      expect(row.of_predicted).toBeCloseTo(row.speedup.padded / row.predicted_speedup, 1)
      expect(row.peak_kv_bytes.padded).toBeGreaterThan(row.peak_kv_bytes.packed)
      expect(row.packed_rows).toBeLessThanOrEqual(row.batch)
      for (const ttft of Object.values(row.ttft_ms)) expect(ttft.p95).toBeGreaterThanOrEqual(ttft.p50)
    }
    expect(engine.stats.pages_in_use).toBe(0)
    await engine.close()
  })
})

describe('prepack with a predictor', () => {
  test('times predicted batches, too', async () => {
    const files = tinyFiles({ layers: 7 })
    const bare = await Engine.load(files, { wasm })
    const predictor = memorySource('tiny', await writePredictor(tinyPredictor(bare.identity)))
    const engine = await Engine.load(files, { wasm, prefixBytes: 0, predictor, ...prepackRoom(prompts, [8]) })
    const [row] = await benchPrepack(engine, prompts, { batches: [8], draws: 1, runs: 3, seed: 1 })
    const { predicted, samples } = row!
    const ratio = (one: (typeof samples)[number]) => one.padded!.ms / one.predicted_packed!.ms
    const ratios = samples.map(ratio).sort((a, b) => a - b)
    expect(predicted!.together.median).toBeCloseTo(ratios[1]!, 1)
    expect(predicted!.of_product).toBeGreaterThan(0)
    expect(engine.stats.pages_in_use).toBe(0)
    await bare.close()
    await engine.close()
  })
})

describe('modes', () => {
  test('reports every mode, and that refining finished', async () => {
    const files = tinyFiles({ layers: 7, context: 512 })
    const bare = await Engine.load(files, { wasm })
    const predictor = memorySource('tiny', await writePredictor(tinyPredictor(bare.identity)))
    const engine = await Engine.load(files, { wasm, prefixBytes: 0, predictor })
    const [row] = await benchModes(engine, { lengths: [120], runs: 3 })
    const { samples, ttft_ms, exact_from, total_work, formula, speedup } = row!
    expect(samples).toHaveLength(3)
    for (const sample of samples) {
      expect(sample.exact.itl_ms).toHaveLength(47)
      expect(sample.refined.itl_ms.length).toBeLessThan(392)
    }
    expect(Object.keys(ttft_ms)).toEqual(['exact', 'predicted', 'refined'])
    expect(exact_from).toBeGreaterThan(0)
    expect(exact_from).toBeLessThan(392)
    expect(total_work.median).toBeGreaterThan(0)
    expect(formula).toBeGreaterThan(1)
    expect(speedup.max).toBeGreaterThanOrEqual(speedup.median)
    expect(engine.stats.pages_in_use).toBe(0)
    await bare.close()
    await engine.close()
  })
})

describe('chunks', () => {
  test('reports answers that are equal, and prompts all but few of whose tokens are placed', async () => {
    const engine = await Engine.load(tinyFiles({ context: 1024 }), { wasm, prefixBytes: 0 })
    // Bytes are tokens here, and so is each letter of the question.
    const [row] = await benchChunks(engine, { lengths: [700], documents: 3, runs: 2, answerTokens: 4 })
    expect(row).toMatchObject({ answers: 2, equal: 2 })
    expect(row!.placed).toBeGreaterThan(500)
    expect(row!.share).toBeGreaterThan(0)
    expect(row!.share).toBeLessThan(0.5)
    expect(row!.faster.max).toBeGreaterThanOrEqual(row!.faster.median)
    expect(engine.stats.pages_in_use).toBe(0)
    await engine.close()
  })
})

describe('replay', () => {
  let engine: Engine
  beforeAll(async () => {
    engine = await Engine.load(tinyFiles(), { wasm, kvTokens: 2048 })
  })
  afterAll(() => engine.close())

  test('serves every request, and counts the served ones', async () => {
    const rows = prompts.map((ids, at) => ({ at_ms: at * 5, prompt_tokens: ids.length, output_tokens: 1 + (at % 4) }))
    const result = await replay(engine, rows, prompts, { ttftMs: 60_000, itlMs: 60_000 })
    expect(result).toMatchObject({ requests: 20, failed: 0, goodput: { share: 1 } })
    expect(result.output_tokens).toBe(rows.reduce((sum, row) => sum + row.output_tokens, 0))
    expect(result.ttfts).toHaveLength(20)
    expect(result.ttft_ms.p99).toBeGreaterThanOrEqual(result.ttft_ms.p50)
    expect(result.seconds * 1000).toBeGreaterThanOrEqual(95)
    const again = await replay(engine, rows, prompts, { ttftMs: 0, itlMs: 0 })
    expect(again.prefix_hit_rate).toBeGreaterThan(result.prefix_hit_rate)
    expect(again.goodput.share).toBe(0)
    expect(await capacityOf(engine, rows, prompts)).toBeGreaterThan(0)
  })

  test('refusals are counted, not hidden', async () => {
    const small = await Engine.load(tinyFiles(), { wasm, schedule: { maxRunning: 1, maxWaiting: 1 } })
    const rows = prompts.map((ids) => ({ at_ms: 0, prompt_tokens: ids.length, output_tokens: 4 }))
    const result = await replay(small, rows, prompts, { ttftMs: 1000, itlMs: 1000 })
    expect(result.failed).toBeGreaterThan(0)
    expect(result.ttfts).toHaveLength(20 - result.failed)
    await small.close()
  })
})
