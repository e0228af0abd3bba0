/** The default model against Hugging Face transformers in float32 on the same, dequantised weights. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { findModel } from '../../node/index.ts'
import type { Engine } from '../../src/index.ts'
import { compareCase, type Golden, loadFolder, readGolden } from './golden.ts'

interface Nll {
  readonly window: number
  readonly window_sums: readonly number[]
  readonly first_windows: readonly (readonly number[])[]
}

const { cases } = readGolden<Golden>('smollm2-135m.json', 'model')
const nll = readGolden<Nll>('nll-smollm2.json', 'nll')
/** A file named by FORETOKEN_TEST_MODEL, or what `foretoken pull smollm2-135m` has brought. */
const model = process.env.FORETOKEN_TEST_MODEL ?? (await findModel('smollm2-135m'))?.files[0]?.path

// Activations are rounded to int8: log-probabilities move by a tenth, and greedy ids may differ where two are as close.
const tolerance = { logprob: 0.5, mean: 0.25, floor: -5, margin: 0.5 }

describe.runIf(model)('smollm2-135m (where it has been pulled)', () => {
  let engine: Engine
  beforeAll(async () => {
    engine = await loadFolder(model!, { context: 1024 })
  })
  afterAll(() => engine?.close())

  test.each(cases)('encodes "$name" as the same ids', ({ prompt, messages, ids }) => {
    expect(engine.promptIds(prompt ?? messages!, { raw: prompt !== undefined })).toEqual(ids)
  })

  test.each(cases)('continues "$name"', (expected) => compareCase(engine, expected, tolerance))

  test('answers with the capital of Norway', async () => {
    let text = ''
    for await (const event of engine.generate('What is the capital of Norway?', { maxTokens: 32 }))
      if (event.type === 'done') text = event.text
    expect(text).toMatch(/^The capital of Norway is Oslo\b/)
  })

  test('mean NLL of the first window of wikitext-2 is within 1 % of the reference', async () => {
    const scores = await engine.score(nll.first_windows[0]!)
    const sum = -scores.reduce((total, score) => total + score, 0)
    expect(scores.length).toBe(nll.window - 1)
    expect(Math.abs(sum / nll.window_sums[0]! - 1)).toBeLessThan(0.01)
  })
})
