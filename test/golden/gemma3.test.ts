/** Gemma 3 270M against transformers in float32 on the same, dequantised weights, and SentencePiece's own ids. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { findModel } from '../../node/index.ts'
import type { Engine } from '../../src/index.ts'
import { compareCase, type Golden, loadFolder, readGolden } from './golden.ts'

interface Texts {
  readonly texts: readonly { readonly text: string; readonly ids: readonly number[] }[]
}

const { cases, texts } = readGolden<Golden & Texts>('gemma3-270m.json', 'model')
const model = (await findModel('gemma3-270m'))?.files[0]?.path

// Activations are rounded to int8, and the weights of five and six bits to eight.
const tolerance = { logprob: 0.5, mean: 0.25, floor: -5, margin: 0.5 }

describe.runIf(model)('gemma3-270m (where it has been pulled)', () => {
  let engine: Engine
  beforeAll(async () => {
    engine = await loadFolder(model!, { context: 2048, kv: 'f32' })
  })
  afterAll(() => engine?.close())

  test.each(texts)('encodes $text as SentencePiece does', ({ text, ids }) => {
    expect(engine.promptIds(text, { raw: true })).toEqual(ids)
  })

  test.each(cases)('encodes "$name" as the same ids', ({ prompt, ids }) => {
    expect(engine.promptIds(prompt!, { raw: true })).toEqual(ids)
  })

  test.each(cases)('continues "$name"', (expected) => compareCase(engine, expected, tolerance))
})
