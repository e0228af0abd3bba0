/** Judging placed chunks: exact where nothing is placed, and what the engine serves where something is. */
import { afterAll, describe, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { chunkHead } from '../../src/decode/placing.ts'
import { Engine } from '../../src/index.ts'
import { answer, apart, randomPrompt } from '../helpers/answers.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'

const engine = await Engine.load(tinyFiles({ layers: 4, context: 512 }), {
  wasm: await loadWasm('auto', 1),
  prefixBytes: 0,
  passTokens: 48,
})
afterAll(() => engine.close())

const prompt = randomPrompt(200, 1)
const chunks = [
  { from: 20, to: 90 },
  { from: 90, to: 150 },
]
const judged = { prompt, continuations: [randomPrompt(6, 2), randomPrompt(3, 3)] }
const { sinks } = engine.chunks
const exact = await engine.workbench.logitsAfter(judged)

describe('placed chunks', () => {
  test.each([
    ['no chunks', { chunks: [], recomputed: 0 }],
    ['chunks whose tokens are all run', { chunks, recomputed: 70 }],
  ])('%s give what exact prefill gives', async (_, how) => {
    const got = await engine.workbench.logitsPlaced(judged, { sinks, ...how })
    for (const [index, logits] of exact.logits.entries()) expect(apart(got.logits[index]!, logits)).toBe(0)
  })

  test('come closer the more of their tokens are run', async () => {
    const off = async (recomputed: number) => {
      const { logits } = await engine.workbench.logitsPlaced(judged, { chunks, sinks, recomputed })
      return apart(logits[0]!, exact.logits[0]!)
    }
    const [few, most] = [await off(4), await off(58)]
    expect(few).toBeGreaterThan(0)
    expect(most).toBeLessThan(few)
  })

  test('give the scores that an answer gets', async () => {
    await answer(engine, { prompt, chunks, maxTokens: 1 })
    await engine.keepChunks()
    const { tokens, done } = await answer(engine, { prompt, chunks, prefill: 'predicted', maxTokens: 4 })
    expect(done.placed_tokens).toBe(70 + 60 - 2 * chunkHead)
    const continuation = tokens.map(({ id }) => id)
    const { logits } = await engine.workbench.logitsPlaced(
      { prompt, continuations: [continuation] },
      { chunks, sinks, recomputed: chunkHead },
    )
    const { vocab } = engine.archive.config
    for (const [row, { id, logprob }] of tokens.entries()) {
      const scores = logits[0]!.subarray(row * vocab, (row + 1) * vocab)
      const top = scores.reduce((a, b) => Math.max(a, b))
      const sum = scores.reduce((sum, logit) => sum + Math.exp(logit - top), 0)
      // The same sum in another order: an f32 has 24 bits, and there are 259 terms.
      expect(Math.abs(scores[id]! - top - Math.log(sum) - logprob)).toBeLessThan(259 * 2 ** -24 * 4)
    }
  })
})
