/** Tokens that end an answer: the model's own, those of a request, and none of them before its least length. */
import { afterAll, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { Engine, type GenerateRequest } from '../../src/index.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'

const engine = await Engine.load(tinyFiles({ context: 256 }), { wasm: await loadWasm('simd128', 1), threads: 1 })
afterAll(() => engine.close())

const eos = engine.archive.tokenizer.eosIds[0]!
const letter = 97
const ask = (change: Partial<GenerateRequest>) =>
  engine.submit({ prompt: [1, 2, 3], maxTokens: 30, ...change }).result()

test.each([1, 2, 10, 29])(
  'an answer with a minimum of %i tokens ends at the first end token after them',
  async (minTokens) => {
    const wishes = { logitBias: { [eos]: 100 }, minTokens }
    for (const temperature of [0, 1]) {
      const { ids, finishReason } = await ask({ ...wishes, temperature, seed: 1 })
      expect(ids).toHaveLength(minTokens + 1)
      expect(ids.indexOf(eos)).toBe(minTokens)
      expect(finishReason).toBe('stop')
    }
  },
)

test('a minimum above the maximum length ends at the maximum', async () => {
  const { ids, finishReason } = await ask({ logitBias: { [eos]: 100 }, minTokens: 1000 })
  expect(ids).toHaveLength(30)
  expect(ids).not.toContain(eos)
  expect(finishReason).toBe('length')
})

test("a request's own end tokens end it, are not shown, and add to those of the model", async () => {
  const wishes = { logitBias: { [letter]: 100 }, stopTokenIds: [letter] }
  expect(await ask(wishes)).toMatchObject({ text: '', ids: [letter], finishReason: 'stop' })
  const late = await ask({ ...wishes, minTokens: 3 })
  expect(late.ids).toHaveLength(4)
  expect(late.ids.slice(0, 3)).not.toContain(letter)
  expect((await ask({ logitBias: { [eos]: 100 }, stopTokenIds: [letter] })).ids).toEqual([eos])
  expect((await ask({ logitBias: { [eos]: 100 }, stopTokenIds: [letter], ignoreEos: true })).ids).toHaveLength(30)
})

test('an end token is drawn where nothing else can be', async () => {
  const all = Array.from({ length: engine.archive.config.vocab }, (_, id) => id)
  for (const temperature of [0, 1])
    expect((await ask({ stopTokenIds: all, minTokens: 5, temperature })).ids).toHaveLength(1)
})

test('1,024 end tokens are accepted and no more, all within the vocabulary; a minimum length is a whole number', async () => {
  const many = (count: number) => ({ stopTokenIds: Array.from({ length: count }, () => letter), maxTokens: 1 })
  expect((await ask(many(1024))).ids).toHaveLength(1)
  expect(() => ask(many(1025))).toThrow(/1024/)
  for (const id of [-1, 0.5, engine.archive.config.vocab])
    expect(() => ask({ stopTokenIds: [id] })).toThrow(/vocabulary/)
  for (const minTokens of [-1, 1.5, Number.NaN]) expect(() => ask({ minTokens })).toThrow(/minTokens/)
})
