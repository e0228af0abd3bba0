/** Paragraphs that come again: found without marks, kept the second time, placed from then on. */
import { afterAll, describe, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { type ChatMessage, Engine, type EngineOptions, type GenerateRequest, memorySource } from '../../src/index.ts'
import { answer } from '../helpers/answers.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'

const wasm = await loadWasm('auto', 1)
const engines: Engine[] = []
afterAll(() => Promise.all(engines.map((engine) => engine.close())))

async function tiny(options: Partial<EngineOptions> = {}): Promise<Engine> {
  const files = tinyFiles({ layers: 4, context: 1024 })
  const engine = await Engine.load(files, { wasm, schedule: { refineMs: 0 }, prefixBytes: 0, ...options })
  engines.push(engine)
  return engine
}

const paragraphs = [
  'The mill at the river was built in 1846 and burnt down twice before it was left to the owls.',
  'A harbour needs a wall, a light and a pilot; this one had two of them and a dog.',
  'Bridges are named after those who paid, seldom after those who drowned under them.',
]
const asked = (order: readonly number[], question = 'Which came first?'): ChatMessage[] => [
  { role: 'user', content: `${order.map((index) => paragraphs[index]).join('\n \n')}\n\n${question}` },
]
/** Returns how many tokens were computed besides those of prompts, once nothing waits. */
async function kept(engine: Engine): Promise<number> {
  await engine.keepChunks()
  return engine.stats.prefill_tokens - (prompted.get(engine) ?? 0)
}
const prompted = new WeakMap<Engine, number>()
const counted = async (engine: Engine, request: GenerateRequest) => {
  const answered = await answer(engine, request)
  const { timings, cached_tokens } = answered.done
  prompted.set(engine, (prompted.get(engine) ?? 0) + timings.prompt_tokens - cached_tokens)
  return answered
}
const ask = (engine: Engine, order: readonly number[], more: Partial<GenerateRequest> = {}) =>
  counted(engine, { prompt: asked(order), chunks: 'auto', maxTokens: 4, verify: true, ...more })

test('are kept when they come a second time, in any order, and placed the third time', async () => {
  const engine = await tiny()
  expect((await ask(engine, [0, 1])).done).toMatchObject({ prefill: 'exact', verified: true })
  expect(await kept(engine)).toBe(0)
  expect((await ask(engine, [2, 1, 0])).done.placed_tokens).toBeUndefined()
  const computed = await kept(engine)
  const lengths = [0, 1].map((index) => paragraphs[index]!.length)
  expect(computed).toBeGreaterThanOrEqual(lengths[0]! + lengths[1]!)
  expect(computed).toBeLessThanOrEqual(lengths[0]! + lengths[1]! + 32)
  const third = await ask(engine, [1, 2, 0])
  expect(third.done).toMatchObject({ prefill: 'refined', placed_tokens: lengths[0]! + lengths[1]! - 16 })
  const exact = await tiny()
  expect(third.done.ids).toEqual((await answer(exact, { prompt: asked([1, 2, 0]), maxTokens: 4 })).done.ids)
})

test('give the answer of marked parts with the same texts', async () => {
  const [found, marked] = [await tiny(), await tiny()]
  for (const order of [
    [0, 1],
    [1, 0],
  ])
    await ask(found, order)
  await found.keepChunks()
  // This template puts a line's end between parts.
  const content = [1, 0].flatMap((index) => [
    { type: 'text' as const, text: paragraphs[index]!, chunk: true },
    { type: 'text' as const, text: '' },
  ])
  const parts: ChatMessage[] = [{ role: 'user', content: [...content, { type: 'text', text: 'Which came first?' }] }]
  const prompt: ChatMessage[] = [{ role: 'user', content: `${paragraphs[1]}\n\n${paragraphs[0]}\n\nWhich came first?` }]
  expect(marked.promptIds(parts)).toEqual(found.promptIds(prompt))
  await answer(marked, { prompt: parts, maxTokens: 1 })
  await marked.keepChunks()
  const predicted = { prefill: 'predicted', verify: false, maxTokens: 8 } as const
  const one = await ask(found, [1, 0], { prompt, ...predicted })
  const two = await answer(marked, { prompt: parts, ...predicted })
  expect(one.done.placed_tokens).toBe(two.done.placed_tokens)
  expect(one.tokens).toEqual(two.tokens)
})

test('of one tenant are not those of another', async () => {
  const engine = await tiny()
  await ask(engine, [0, 1], { tenant: 'a' })
  await ask(engine, [1, 0], { tenant: 'b' })
  expect(await kept(engine)).toBe(0)
  await ask(engine, [1, 0], { tenant: 'a' })
  await engine.keepChunks()
  expect((await ask(engine, [0, 1], { tenant: 'b', maxTokens: 1 })).done.placed_tokens).toBeUndefined()
  expect((await ask(engine, [0, 1], { tenant: 'a', maxTokens: 1 })).done.placed_tokens).toBeGreaterThan(100)
})

describe('do not count as come again', () => {
  test('in a conversation that goes on, which the prefix cache has', async () => {
    const engine = await tiny({ prefixBytes: 1 << 24 })
    const turns: ChatMessage[] = [...asked([0, 1]), { role: 'assistant', content: 'The mill.' }]
    await ask(engine, [0, 1])
    const { done } = await ask(engine, [], { prompt: [...turns, { role: 'user', content: 'Why?' }] })
    expect(done.cached_tokens).toBeGreaterThan(paragraphs[0]!.length)
    await ask(engine, [], { prompt: [...turns, { role: 'user', content: 'Who?' }] })
    expect(await kept(engine)).toBe(0)
  })

  test('within one prompt', async () => {
    const engine = await tiny()
    await ask(engine, [0, 0, 0])
    expect(await kept(engine)).toBe(0)
  })

  test('in exact requests, and by default', async () => {
    const engine = await tiny()
    for (const order of [
      [0, 1],
      [1, 0],
      [0, 1],
    ]) {
      await ask(engine, order, { prefill: 'exact', verify: false })
      await counted(engine, { prompt: asked(order), maxTokens: 1 })
    }
    expect(await kept(engine)).toBe(0)
  })

  test('where nothing can be kept', async () => {
    const engine = await tiny({ chunkBytes: 0 })
    for (const order of [
      [0, 1],
      [1, 0],
      [0, 1],
    ])
      await ask(engine, order)
    expect(await kept(engine)).toBe(0)
  })
})

test('are found in prepared prompts and in texts to continue, and where a file has them', async () => {
  const engine = await tiny()
  await engine.loadChunks(memorySource('x', await engine.saveChunks(paragraphs)))
  const prompt = await engine.prepare(asked([2, 0]), { chunks: 'auto' })
  expect(prompt.chunks).toMatchObject([{ found: true }, { found: true }])
  const placed = async (request: GenerateRequest) =>
    (await answer(engine, { maxTokens: 1, ...request })).done.placed_tokens
  const length = paragraphs[2]!.length + paragraphs[0]!.length - 16
  expect(await placed({ prompt })).toBe(length)
  expect(await placed({ prompt, chunks: 'auto' })).toBe(length)
  // The last paragraph is read, whatever it is: the answer follows it.
  const text = [1, 2, 0, 1].map((index) => paragraphs[index]).join('\n\n')
  const all = paragraphs.join('').length - 24
  expect(await placed({ prompt: text, raw: true, chunks: 'auto' })).toBe(all)
  expect(await placed({ prompt: paragraphs.join('\n\n'), raw: true })).toBeUndefined()
})

test('are refused for token ids, and by models that cannot place them', async () => {
  const engine = await tiny()
  const ids = engine.promptIds(asked([0]))
  expect(() => engine.submit({ prompt: ids, chunks: 'auto' })).toThrow(/prepare the prompt/)
  await expect(engine.prepare(ids, { chunks: 'auto' })).rejects.toMatchObject({ code: 'bad_argument' })
  expect(() => engine.submit({ prompt: 'x', chunks: 'all' as never })).toThrow(/"auto", or a list/)
})
