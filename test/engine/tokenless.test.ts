/** Rows of the embedding that no token has are never drawn or listed, whatever a request asks for; in a prompt they stand for nothing. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import type { ModelFiles } from '../../src/base/bytes.ts'
import { Engine, type TokenEvent } from '../../src/index.ts'
import { openModel } from '../../src/model/open.ts'
import { createTokenizer } from '../../src/tokens/tokenizer.ts'
import { tinyFolder } from '../helpers/tiny-folder.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'

const wasm = await loadWasm('simd128')

/** Rows that would win each step: ten times the embedding of others. */
function loud(rows: readonly number[]) {
  return (all: Map<string, { readonly data: Float32Array }>) => {
    const { data } = all.get('model.embed_tokens.weight')!
    for (const row of rows) for (let i = 0; i < 32; i++) data[row * 32 + i]! *= 10
  }
}

const padding = Array.from({ length: 12 }, (_, i) => 276 + i)
const hole = 100

const kinds: [string, () => ModelFiles, number[]][] = [
  ['12 rows behind the tokens', () => tinyFolder({ rows: 288, tensors: loud(padding) }), padding],
  [
    'a hole among the tokens',
    () =>
      tinyFolder({
        tensors: loud([hole]),
        tokenizer: (json) => {
          const vocab = Object.fromEntries(Object.entries(json.model.vocab).filter(([, id]) => id !== hole))
          return { ...json, model: { ...json.model, vocab } }
        },
      }),
    [hole],
  ],
]

describe.each(kinds)('%s', (_, files, tokenless) => {
  let engine: Engine
  beforeAll(async () => {
    engine = await Engine.load(files(), { wasm, context: 128 })
  })
  afterAll(() => engine?.close())

  test('are recognised', () => expect([...engine.archive.tokenless]).toEqual(tokenless))

  const requests = [
    { temperature: 0 },
    { temperature: 2, seed: 1 },
    { temperature: 100, seed: 2 },
    { temperature: 2, topK: 280, topP: 0.999, minP: 0, seed: 3 },
    { temperature: 1, repetitionPenalty: 1.5, presencePenalty: 2, seed: 4 },
    { temperature: 0, logitBias: Object.fromEntries(tokenless.map((id) => [id, 100])) },
  ]
  test.each(requests)('are neither drawn nor listed: %o', async (request) => {
    const submission = engine.submit({ prompt: [5, 6, 7], maxTokens: 60, ignoreEos: true, topLogprobs: 20, ...request })
    const events: TokenEvent[] = []
    for await (const event of submission) if (event.type === 'token') events.push(event)
    expect(events).toHaveLength(60)
    for (const { id, logprob, topLogprobs } of events) {
      expect(tokenless).not.toContain(id)
      expect(logprob).toBeGreaterThan(Number.NEGATIVE_INFINITY)
      expect(topLogprobs).toHaveLength(20)
      for (const { id: listed } of topLogprobs!) expect(tokenless).not.toContain(listed)
    }
  })

  test('a list as long as the vocabulary holds all tokens, and only them', async () => {
    const few = await engine.submit({ prompt: [5], maxTokens: 1, topLogprobs: 100 }).result()
    expect(few.ids).toHaveLength(1)
    const logits = await engine.logits([5, 6])
    const finite = [...logits.subarray(0, logits.length / 2)].filter(Number.isFinite)
    expect(finite).toHaveLength(engine.archive.config.vocab - tokenless.length)
  })

  test('may occur in a prompt, where they decode to nothing', async () => {
    const prompt = [5, tokenless[0]!, 6]
    const { ids } = await engine.submit({ prompt, maxTokens: 5, ignoreEos: true }).result()
    expect(ids).toHaveLength(5)
    expect(engine.tokenizer.decode(prompt)).toBe(engine.tokenizer.decode([5, 6]))
    const after = await engine.submit({ prompt: [5], after: [tokenless[0]!], maxTokens: 3, ignoreEos: true }).result()
    expect(after.ids).toHaveLength(3)
  })

  test('an id beyond all rows is refused as before', () => {
    const beyond = engine.archive.config.vocab
    expect(() => engine.submit({ prompt: [beyond] })).toThrow(/is not a token id of the vocabulary/)
  })
})

test('placeholder texts that a converter made for rows without a token are not tokens', async () => {
  const tokens = Array.from({ length: 259 }, (_, i) => (i < 250 ? String.fromCodePoint(0x100 + i) : `[PAD${i}]`))
  const metadata = {
    'tokenizer.ggml.tokens': { texts: tokens },
    'tokenizer.ggml.token_type': { ints: tokens.map((_, i) => (i < 250 ? 1 : 5)) },
  }
  const { tokenless, tokenizer } = await openModel(tinyFiles({ metadata }))
  expect([...tokenless]).toEqual(Array.from({ length: 9 }, (_, i) => 250 + i))
  const made = createTokenizer(tokenizer)
  expect(made.idOf('[PAD251]')).toBeUndefined()
  expect(made.tokenBytes(251)).toEqual(new Uint8Array(0))
  expect(made.idOf(tokens[249]!)).toBe(249)
})
