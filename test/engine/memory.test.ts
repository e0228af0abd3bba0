/**
 * Memory follows its use: under load that grows from nothing, in every kind of work, and
 * afterwards.
 */
import { afterAll, describe, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { Engine, type EngineOptions, type GenerateRequest, pageTokens } from '../../src/index.ts'
import { memoryFiles, memorySource } from '../../src/model/source.ts'
import { writePredictor } from '../../src/predict/file.ts'
import type { SeparatePlan } from '../../src/predict/plan.ts'
import { randomPrompt } from '../helpers/answers.ts'
import { MemoryWatch } from '../helpers/memory.ts'
import { tinyFiles, tinyGguf } from '../helpers/tiny-model.ts'
import { tinyPredictor } from '../helpers/tiny-predictor.ts'

const wasm = await loadWasm('auto', 1)
const opened: Engine[] = []
afterAll(() => Promise.all(opened.map((engine) => engine.close())))

async function load(options: Partial<EngineOptions> = {}, files = tinyFiles({ context: 2048 })): Promise<Engine> {
  const engine = await Engine.load(files, { wasm, ...options })
  opened.push(engine)
  return engine
}

/** All of them at once, watched at every event. Returns how many ended. */
async function answerAll(engine: Engine, watch: MemoryWatch, requests: readonly GenerateRequest[]): Promise<number> {
  const done = requests.map(async (request) => {
    for await (const event of engine.submit({ ignoreEos: true, ...request })) {
      watch.look()
      if (event.type === 'done') return 1
    }
    return 0
  })
  return (await Promise.all(done)).reduce<number>((sum, one) => sum + one, 0)
}

describe('load that grows from nothing', () => {
  test('64 concurrent prompts whose page lists far exceed the initial pool', async () => {
    // All run at once, so that a pass lists the pages of all while the pool grows.
    const schedule = { order: 'pack', fullRows: 256 } as const
    const engine = await load({ context: 2048, kvTokens: 65_536, schedule }, tinyFiles({ layers: 1, context: 2048 }))
    const watch = new MemoryWatch(engine)
    const requests = Array.from({ length: 64 }, (_, seed) => ({ prompt: randomPrompt(300, seed), maxTokens: 120 }))
    expect(await answerAll(engine, watch, requests)).toBe(64)
    // More entries in a pass's lists than any table begins with.
    expect(watch.pages).toBeGreaterThan(1024)
    watch.expectBounded()
  })

  test('60 answers after one prefix of 1,000 tokens, twice', async () => {
    const engine = await load({ context: 2048, kvTokens: 32_768 })
    const watch = new MemoryWatch(engine)
    const prefix = randomPrompt(1000, 1)
    const requests = Array.from({ length: 60 }, (_, i) => ({ prompt: [...prefix, i, i + 1], maxTokens: 40 }))
    for (let round = 0; round < 2; round++) {
      expect(await answerAll(engine, watch, requests)).toBe(60)
      watch.expectBounded()
    }
    // Shared, not 60 times 63.
    expect(watch.pages).toBeLessThan(600)
  })

  test('a pool that grows alternately with the pool of a smaller model that reads prompts', async () => {
    const files = memoryFiles('tiny', { 'tiny.gguf': tinyGguf({ layers: 7, context: 2048 }) })
    const auxiliary = memoryFiles('aux', { 'aux.gguf': tinyGguf({ layers: 3, seed: 2, context: 2048 }) })
    const bare = await load({ auxiliary }, files)
    const plan: SeparatePlan = { kind: 'separate', map: [0, 0, 1, 1, 2, 3, 3], sinks: 4, window: 8 }
    const aux = { identity: bare.workbench.auxiliary!.identity, name: 'aux', layers: 3, hidden: 256 }
    const predictor = memorySource('p', await writePredictor(tinyPredictor(bare.identity, { plan, aux })))
    const engine = await load({ auxiliary, predictor, kvTokens: 32_768, passTokens: 64, prefixBytes: 0 }, files)
    const before = engine.backend.memory()
    let pools = 0
    for (let round = 1; round <= 6; round++) {
      const requests = Array.from({ length: 3 * round }, (_, seed) => ({
        prompt: randomPrompt(120 + 20 * round, seed),
        maxTokens: 30,
        prefill: (['predicted', 'exact', 'refined'] as const)[seed % 3]!,
      }))
      const done = requests.map(async (request) => {
        for await (const _ of engine.submit({ ignoreEos: true, ...request }))
          pools = Math.max(pools, engine.backend.memory().pools)
      })
      await Promise.all(done)
    }
    const { total, weights, tables, free, pools: left } = engine.backend.memory()
    expect(total).toBe(weights + tables + left + free)
    expect(weights).toBe(before.weights)
    // The walk makes its input when it is first needed; nothing else is added.
    expect(tables - before.tables).toBeLessThanOrEqual(4 * 64 * 256 * 4)
    expect(left).toBeLessThanOrEqual(16 * engine.pageBytes)
    expect(total).toBeLessThanOrEqual(1.15 * (weights + tables + pools) + (1 << 20))
  })
})

describe('the memory balance', () => {
  test('is exact after every kind of work, and no work leaves a table behind', async () => {
    const engine = await load({ context: 512, kvTokens: 2048, passTokens: 64 }, tinyFiles({ context: 512 }))
    const other = await load({ context: 512, passTokens: 64 }, tinyFiles({ context: 512 }))
    const ids = randomPrompt(200, 3)
    const key = new Uint8Array(32)
    let seed = 9
    const works: Readonly<Record<string, () => Promise<unknown>>> = {
      submit: () => engine.submit({ prompt: ids, maxTokens: 5 }).result(),
      score: () => engine.score(ids),
      logits: () => engine.logits(ids.slice(0, 60)),
      prefillMany: async () => {
        const sessions = await engine.prefillMany([ids, ids.slice(3), ids.slice(50)])
        await sessions[0]!.step(7)
        for (const session of sessions) session.release()
      },
      'savePrefix and loadPrefix': async () => {
        const prefix = await engine.loadPrefix(
          await engine.savePrefix('a beginning that takes some pages, at least two of them'),
        )
        prefix.release()
      },
      'kvOf and expectKv': async () => {
        for (const codec of ['f32', 'int4'] as const) {
          const prompt = randomPrompt(200, seed++)
          const expected = engine.expectKv(prompt)
          const { from, to } = expected
          await expected.receive(other.kvOf(prompt, { codec, key, from, to }), { key })
          expected.release()
        }
      },
      cacheOf: () => engine.workbench.cacheOf(ids, 'exact'),
    }
    const watch = new MemoryWatch(engine)
    for (const [name, work] of Object.entries(works)) {
      await work()
      watch.look()
      const { tables } = engine.backend.memory()
      await work()
      watch.look()
      expect(engine.backend.memory().tables, name).toBe(tables)
    }
    expect(engine.backend.memory().total).toBeLessThanOrEqual(watch.bound + (1 << 19))
  })

  test('unused pages are returned, and later work reuses their memory', async () => {
    const engine = await load({ context: 2048, kvTokens: 8192, prefixBytes: 0 })
    const sessions = await engine.prefillMany(Array.from({ length: 4 }, (_, seed) => randomPrompt(1000, seed)))
    const { total, pools } = engine.backend.memory()
    expect(pools).toBeGreaterThanOrEqual(4 * Math.ceil(1000 / pageTokens) * engine.pageBytes)
    for (const session of sessions) session.release()
    expect(engine.backend.memory().pools).toBeLessThanOrEqual(8 * engine.pageBytes)
    // The room serves another use, and comes back from it.
    engine.backend.release(engine.backend.tensor(200, 4096))
    const again = await engine.prefillMany(Array.from({ length: 4 }, (_, seed) => randomPrompt(1000, seed)))
    expect(engine.backend.memory()).toMatchObject({ total, pools })
    for (const session of again) session.release()
  })
})
