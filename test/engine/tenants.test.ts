/** One tenant fills a whole engine, as it is without any option; another asks for a short answer. */
import { expect, test } from 'vitest'
import { tinyEngine } from '../helpers/tiny-server.ts'

test("a tenant's first token comes within a few passes however much another asks for, and all answers are as alone", async () => {
  const engine = await tinyEngine({ passTokens: 64 })
  const bias = Object.fromEntries(Array.from({ length: 200 }, (_, id) => [id, (id % 5) - 2]))
  const greedy = Array.from({ length: 72 }, (_, n) => ({
    prompt: Array.from({ length: 24 }, (_, i) => (i * 3 + n) % 250),
    raw: true,
    tenant: 'greedy',
    maxTokens: 40,
    ignoreEos: true,
    seed: n,
    temperature: 1.5,
    topK: 200,
    topP: 0.99,
    minP: 0.001,
    repetitionPenalty: 1.1,
    presencePenalty: 0.5,
    frequencyPenalty: 0.5,
    topLogprobs: 20,
    logitBias: bias,
  }))
  const running = greedy.map((request) => engine.submit(request).result())
  while (engine.stats.decode_tokens < 300) await new Promise((resolve) => setImmediate(resolve))
  const before = engine.stats
  expect(Math.min(before.running, before.waiting)).toBeGreaterThan(10)
  const victim = { prompt: [1, 2, 3], raw: true, tenant: 'other', maxTokens: 1 }
  const { ids } = await engine.submit(victim).result()
  expect(engine.stats.passes - before.passes).toBeLessThan(6)
  const done = await Promise.all(running)
  expect((await engine.submit(victim).result()).ids).toEqual(ids)
  for (const n of [0, 35, 71]) expect((await engine.submit(greedy[n]!).result()).ids).toEqual(done[n]!.ids)
  const { running: left, waiting, pages_in_use, prefix_pages } = engine.stats
  expect([left, waiting, pages_in_use - prefix_pages]).toEqual([0, 0, 0])
  await engine.close()
})
