/** Chunks as files: those of a file are placed as those that were computed here, to the bit. */
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { folderFiles } from '../../node/model-files.ts'
import { loadWasm } from '../../node/wasm.ts'
import { Engine, type EngineOptions, memorySource } from '../../src/index.ts'
import { answer } from '../helpers/answers.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'

const wasm = await loadWasm('auto', 1)
const engines: Engine[] = []
afterAll(() => Promise.all(engines.map((engine) => engine.close())))

async function tiny(options: Partial<EngineOptions> = {}, model: object = {}): Promise<Engine> {
  const files = tinyFiles({ layers: 4, context: 1024, ...model })
  const engine = await Engine.load(files, { wasm, schedule: { refineMs: 0 }, ...options })
  engines.push(engine)
  return engine
}

const texts = [
  'The mill at the river was built in 1846 and burnt down twice before it was left to the owls.',
  'A harbour needs a wall, a light and a pilot; this one had two of them and a dog.',
]
const asked = (order: readonly number[]) => [
  {
    role: 'user' as const,
    content: [
      ...order.map((index) => ({ type: 'text' as const, text: texts[index]!, chunk: true })),
      { type: 'text' as const, text: 'Which came first?' },
    ],
  },
]
const request = { prompt: asked([1, 0]), prefill: 'predicted', maxTokens: 8 } as const

describe('a file of chunks', () => {
  test.each(['f32', 'int8'] as const)(
    'gives the answers of chunks that were computed here, K and V in %s',
    async (kv) => {
      const here = await tiny({ kv, prefixBytes: 0 })
      await answer(here, { prompt: asked([0, 1]), maxTokens: 1 })
      await here.keepChunks()
      const want = await answer(here, request)
      expect(want.done.placed_tokens).toBeGreaterThan(120)

      // Another pass size computes the same.
      const maker = await tiny({ kv, passTokens: 33 })
      const file = await maker.saveChunks(texts)
      expect(maker.stats.pages_in_use).toBe(0)
      const cold = await tiny({ kv, prefixBytes: 0 })
      const loaded = await cold.loadChunks(memorySource('docs.chunks', file))
      expect(loaded).toMatchObject({ chunks: 2, tokens: texts.join('').length })
      expect(loaded.bytes).toBeLessThan(file.length)
      const got = await answer(cold, request)
      expect(got.done.placed_tokens).toBe(want.done.placed_tokens)
      expect(got.tokens).toEqual(want.tokens)
      // Nothing was left to compute.
      expect(await here.saveChunks(texts)).toEqual(file)

      loaded.release()
      loaded.release()
      expect((await answer(cold, { ...request, prefill: 'refined' })).done.placed_tokens).toBeUndefined()
    },
  )

  test('belongs to one tenant, or to all', async () => {
    const engine = await tiny()
    const file = await engine.saveChunks(texts)
    const placed = async (tenant: string) =>
      (await answer(engine, { ...request, tenant, maxTokens: 1 })).done.placed_tokens !== undefined
    const own = await engine.loadChunks(file, { tenant: 'a' })
    expect([await placed('a'), await placed('b')]).toEqual([true, false])
    own.release()
    const all = await engine.loadChunks(file)
    expect([await placed('c'), await placed('d')]).toEqual([true, true])
    all.release()
  })

  test('is refused where it does not fit or is of other weights, and nothing of it is kept', async () => {
    const file = await (await tiny()).saveChunks(texts)
    const small = await tiny({ chunkBytes: 1000 })
    const error = await small.loadChunks(file).catch((caught) => caught)
    expect(error).toMatchObject({ code: 'out_of_memory', message: expect.stringMatching(/chunkBytes of \d+ or more/) })
    const [, wanted] = /chunkBytes of (\d+)/.exec(error.message)!
    const fits = await tiny({ chunkBytes: Number(wanted) })
    await fits.loadChunks(file)
    const tuned = await tiny({}, { seed: 2 })
    await expect(tuned.loadChunks(file)).rejects.toMatchObject({ code: 'wrong_model' })
    await expect(fits.loadChunks(await fits.savePrefix(texts[0]!))).rejects.toMatchObject({ code: 'bad_prefix' })
    const damaged = file.slice()
    damaged[file.length - 1]! ^= 1
    const roomy = await tiny()
    await expect(roomy.loadChunks(damaged)).rejects.toMatchObject({ code: 'checksum' })
    expect((await answer(roomy, { ...request, maxTokens: 1 })).done.placed_tokens).toBeUndefined()
  })

  test('is not made of texts that are short, too long, or none', async () => {
    const engine = await tiny({ context: 128 })
    const fails = (texts: unknown) => engine.saveChunks(texts as string[]).catch((error) => error)
    expect(await fails(['x'.repeat(23)])).toMatchObject({
      code: 'bad_argument',
      message: expect.stringMatching(/chunk 0 has 23/),
    })
    expect(await fails(['x'.repeat(24), 'y'.repeat(128)])).toMatchObject({ code: 'context_exceeded' })
    expect(await fails([])).toMatchObject({ code: 'bad_argument' })
    expect(await fails('text')).toMatchObject({ code: 'bad_argument' })
  })

  test('of a model with convolutions is refused with the reason', async () => {
    const files = await folderFiles(fileURLToPath(new URL('../vectors/tiny-lfm2', import.meta.url)))
    const engine = await Engine.load(files, { wasm })
    await files.close()
    engines.push(engine)
    await expect(engine.saveChunks(texts)).rejects.toMatchObject({ code: 'unsupported' })
    await expect(engine.loadChunks(new Uint8Array(64))).rejects.toMatchObject({ code: 'unsupported' })
  })
})
