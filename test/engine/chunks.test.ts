/** Prompts whose chunks come again at other places: placed, made exact, and kept apart. */
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { folderFiles } from '../../node/model-files.ts'
import { loadWasm } from '../../node/wasm.ts'
import { chunkHead } from '../../src/decode/placing.ts'
import { Engine, type EngineOptions, memorySource, Routed, StaticCompanions } from '../../src/index.ts'
import { writePredictor } from '../../src/predict/file.ts'
import { answer, randomPrompt } from '../helpers/answers.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { tinyPlan, tinyPredictor } from '../helpers/tiny-predictor.ts'

const wasm = await loadWasm('auto', 1)
const engines: Engine[] = []
afterAll(() => Promise.all(engines.map((engine) => engine.close())))

/** Without the clock, the same rows are refined in every run. */
const schedule = { refineMs: 0 }

async function tiny(options: Partial<EngineOptions> = {}): Promise<Engine> {
  const engine = await Engine.load(tinyFiles({ layers: 4, context: 1024 }), { wasm, schedule, ...options })
  engines.push(engine)
  return engine
}

async function family(name: string, options: Partial<EngineOptions> = {}): Promise<Engine> {
  const files = await folderFiles(fileURLToPath(new URL(`../vectors/${name}`, import.meta.url)))
  try {
    const engine = await Engine.load(files, { wasm, schedule, ...options })
    engines.push(engine)
    return engine
  } finally {
    await files.close()
  }
}

const opening = randomPrompt(21, 1)
const documents = [2, 3, 4, 5].map((seed) => randomPrompt(50 + seed, seed))
const question = randomPrompt(15, 9)

/** A prompt with some of the documents, and the ranges of these. */
function promptOf(order: readonly number[], asked = question) {
  const prompt = [...opening]
  const chunks = order.map((index) => {
    const from = prompt.length
    for (const id of documents[index]!) prompt.push(id)
    return { from, to: prompt.length }
  })
  return { prompt: [...prompt, ...asked], chunks }
}

const placed = (order: readonly number[]) => order.reduce((sum, index) => sum + documents[index]!.length - chunkHead, 0)

describe.each([
  ['tiny-llama3', 'f32'],
  ['tiny-qwen2', 'int8'],
  ['tiny-qwen2', 'f16'],
  ['tiny-qwen3', 'int8'],
  ['tiny-gemma2', 'f32'],
  ['tiny-gemma3', 'int8'],
  ['tiny-smollm3', 'f16'],
  ['tiny-exaone4-windows', 'int8'],
  ['tiny-ministral', 'int8'],
  ['tiny-mistral', 'f32'],
  ['tiny-olmo2', 'f32'],
  ['tiny-phi3', 'f32'],
  ['tiny-granite', 'f32'],
  ['tiny-openelm', 'f32'],
] as const)('%s with K and V in %s', (name, kv) => {
  test('answers from placed chunks, and then holds what exact prefill holds, to the bit', async () => {
    const exact = await family(name, { kv })
    const engine = await family(name, { kv })
    const [first, again] = [promptOf([0, 1, 2]), promptOf([2, 0, 3, 1])]
    const one = await answer(engine, { ...first, maxTokens: 4 })
    expect(one.done).toMatchObject({ prefill: 'exact', exact_from: 0, verified: true, prefill_share: 1 })
    expect(one.done.placed_tokens).toBeUndefined()
    await engine.keepChunks()

    const two = await answer(engine, { ...again, maxTokens: 6, verify: true })
    expect(two.done).toMatchObject({ prefill: 'refined', placed_tokens: placed([2, 0, 1]) })
    expect(two.done.prefill_share).toBeGreaterThan(0)
    expect(two.done.prefill_share).toBeLessThan(0.8)
    const want = await answer(exact, { prompt: again.prompt, maxTokens: 6 })
    expect(two.done.ids).toEqual(want.done.ids)

    // The pages of the refined answer are in the prefix cache now, and give the same bits.
    const three = await answer(engine, { prompt: again.prompt, maxTokens: 6 })
    expect(three.done.cached_tokens).toBeGreaterThan(again.prompt.length - 17)
    expect(three.tokens).toEqual(want.tokens)
  })
})

test('a family with convolutions says why it cannot', async () => {
  const engine = await family('tiny-lfm2')
  expect(() => engine.submit(promptOf([0]))).toThrow(/unsupported|convolution/)
  const { done } = await answer(engine, { ...promptOf([0]), prefill: 'exact', maxTokens: 2 })
  expect(done.prefill).toBe('exact')
})

describe('marks', () => {
  test('change nothing where exact prefill is asked for', async () => {
    const engine = await tiny()
    await answer(engine, { ...promptOf([0, 1]), maxTokens: 2 })
    await engine.keepChunks()
    const { done, tokens } = await answer(engine, { ...promptOf([1, 0]), prefill: 'exact', maxTokens: 4 })
    expect(done.prefill).toBe('exact')
    expect(done.placed_tokens).toBeUndefined()
    const other = await tiny()
    expect(tokens).toEqual((await answer(other, { prompt: promptOf([1, 0]).prompt, maxTokens: 4 })).tokens)
  })

  test('of exact requests keep nothing', async () => {
    const engine = await tiny()
    await answer(engine, { ...promptOf([0, 1]), prefill: 'exact', maxTokens: 2 })
    await engine.keepChunks()
    expect((await answer(engine, { ...promptOf([1, 0]), maxTokens: 2 })).done.placed_tokens).toBeUndefined()
  })

  test('keep the label of inexact K and V, and their pages out of the prefix cache, with predicted', async () => {
    const engine = await tiny()
    await answer(engine, { ...promptOf([0, 1]), maxTokens: 2 })
    await engine.keepChunks()
    const again = promptOf([1, 0])
    const { done } = await answer(engine, { ...again, prefill: 'predicted', maxTokens: 4 })
    expect(done).toMatchObject({ prefill: 'predicted', placed_tokens: placed([0, 1]) })
    expect(done.exact_from).toBeUndefined()
    const exact = await tiny()
    const want = await answer(exact, { prompt: again.prompt, maxTokens: 4 })
    const got = await answer(engine, { prompt: again.prompt, maxTokens: 4 })
    // What stands before the first placed token is exact.
    expect(got.done.cached_tokens).toBe(Math.floor((again.chunks[0]!.from + chunkHead) / 16) * 16)
    expect(got.tokens).toEqual(want.tokens)
  })

  test('of one tenant are not those of another', async () => {
    const engine = await tiny()
    await answer(engine, { ...promptOf([0, 1]), maxTokens: 2, tenant: 'a' })
    await engine.keepChunks()
    const asked = async (tenant: string) =>
      (await answer(engine, { ...promptOf([1, 0]), maxTokens: 2, tenant })).done.placed_tokens
    expect(await asked('b')).toBeUndefined()
    expect(await asked('a')).toBe(placed([0, 1]))
  })

  test('find what is kept no matter what else the prompt says, and give the same answer', async () => {
    const [one, two] = [await tiny({ prefixBytes: 0 }), await tiny({ prefixBytes: 0 })]
    await answer(one, { ...promptOf([0, 1]), maxTokens: 2 })
    await one.keepChunks()
    // The same documents, brought by other prompts, among others, and one at a time.
    await answer(two, { ...promptOf([1, 3], randomPrompt(30, 31)), maxTokens: 2 })
    await two.keepChunks()
    await answer(two, { ...promptOf([2, 0], randomPrompt(5, 32)), maxTokens: 2 })
    await two.keepChunks()
    const request = { ...promptOf([1, 0]), prefill: 'predicted', maxTokens: 8 } as const
    const [a, b] = [await answer(one, request), await answer(two, request)]
    expect(a.done.placed_tokens).toBe(placed([0, 1]))
    expect(b.tokens).toEqual(a.tokens)
  })

  test('beyond the budget are dropped, and 0 bytes keep none', async () => {
    const none = await tiny({ chunkBytes: 0 })
    await answer(none, { ...promptOf([0, 1]), maxTokens: 2 })
    await none.keepChunks()
    const { done } = await answer(none, { ...promptOf([1, 0]), maxTokens: 2 })
    expect(done).toMatchObject({ prefill: 'exact', verified: true })
  })

  test('are refused outside of the prompt, out of order, and with predictions that are not there', async () => {
    const engine = await tiny()
    const { prompt } = promptOf([0, 1])
    const ranges =
      (...chunks: { from: number; to: number }[]) =>
      () =>
        engine.submit({ prompt, chunks })
    expect(ranges({ from: 0, to: prompt.length + 1 })).toThrow(/chunks\[0\]/)
    expect(ranges({ from: 20, to: 60 }, { from: 40, to: 80 })).toThrow(/chunks\[1\]/)
    expect(ranges({ from: 20, to: 20 })).toThrow(/chunks\[0\]/)
    expect(() => engine.submit({ ...promptOf([0]), prefill: 'auto' })).toThrow(/predictor/)
    expect(() => engine.submit({ ...promptOf([0]), prefill: 'predicted', verify: true })).toThrow(/verify/)
  })
})

test('a routed service keeps and places chunks here', async () => {
  const engine = await tiny()
  const routed = new Routed(engine, { companions: new StaticCompanions([]) })
  const texts = [
    'The mill was built by the river in 1846 and burnt twice. ',
    'A harbour needs a wall, a light and a dog. ',
  ]
  const asked = (order: readonly number[]) => [
    { role: 'user' as const, content: order.map((at) => ({ type: 'text' as const, text: texts[at]!, chunk: true })) },
  ]
  const result = async (order: readonly number[]) =>
    routed.submit({ prompt: await routed.prepare(asked(order)), maxTokens: 2, verify: true }).result()
  expect((await result([0, 1])).placed_tokens).toBeUndefined()
  await routed.keepChunks()
  expect((await result([1, 0])).placed_tokens).toBeGreaterThan(60)
  // Also where the prompt is not prepared before, and from a file, whose chunks have the ids of their texts.
  const direct = (order: readonly number[]) =>
    routed.submit({ prompt: asked(order), maxTokens: 2, tenant: 'other' }).result()
  expect((await direct([0, 1])).placed_tokens).toBeUndefined()
  await engine.loadChunks(await engine.saveChunks(texts), { tenant: 'other' })
  expect((await direct([1, 0])).placed_tokens).toBe(texts.join('').length - 2 * chunkHead)
})

test('the pass size changes no bit', async () => {
  const results: unknown[] = []
  for (const passTokens of [256, 64, 33]) {
    const engine = await tiny({ passTokens, kv: 'int8', prefixBytes: 0 })
    await answer(engine, { ...promptOf([0, 1, 2]), maxTokens: 2 })
    await engine.keepChunks()
    const { done, tokens } = await answer(engine, { ...promptOf([2, 1, 0]), prefill: 'predicted', maxTokens: 8 })
    expect(done.placed_tokens).toBe(placed([0, 1, 2]))
    results.push(tokens)
  }
  expect(results[1]).toEqual(results[0])
  expect(results[2]).toEqual(results[0])
})

test('known chunks are placed behind a cached prefix', async () => {
  const engine = await tiny()
  const first = promptOf([0, 1])
  await answer(engine, { ...first, maxTokens: 2 })
  await engine.keepChunks()
  // The same document in front, so that the prefix cache has it, and then another order.
  const again = promptOf([0, 2, 1])
  const { done } = await answer(engine, { ...again, maxTokens: 6, verify: true })
  expect(done.cached_tokens).toBe(64)
  expect(done.placed_tokens).toBe(placed([1]))
  const exact = await tiny()
  expect(done.ids).toEqual((await answer(exact, { prompt: again.prompt, maxTokens: 6 })).done.ids)
})

describe('beside a predictor', () => {
  test('chunks that are known are placed, and other prompts are predicted', async () => {
    const files = tinyFiles({ layers: 7, context: 1024 })
    const plain = await Engine.load(files, { wasm, schedule })
    engines.push(plain)
    const file = await writePredictor(tinyPredictor(plain.identity, { plan: { ...tinyPlan, runs: [], taps: [1] } }))
    const engine = await Engine.load(files, { wasm, schedule, predictor: memorySource('predictor', file) })
    engines.push(engine)
    // Marks alone ask for no prediction.
    expect((await answer(engine, { ...promptOf([0, 1]), maxTokens: 2 })).done.prefill).toBe('exact')
    await engine.keepChunks()
    const wanted = [promptOf([1, 0]), promptOf([2, 3]), { prompt: randomPrompt(150, 77) }]
    // All in the same passes: one is placed, two are predicted.
    const answers = await Promise.all(
      wanted.map((request) => answer(engine, { ...request, prefill: 'refined', verify: true, maxTokens: 6 })),
    )
    expect(answers.map(({ done }) => done.placed_tokens)).toEqual([placed([0, 1]), undefined, undefined])
    expect(answers.map(({ done }) => done.prefill)).toEqual(['refined', 'refined', 'refined'])
    for (const [index, { prompt }] of wanted.entries())
      expect(answers[index]!.done.ids).toEqual((await answer(plain, { prompt, maxTokens: 6 })).done.ids)
  })
})
