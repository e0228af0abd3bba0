/** Each architecture on a tiny random model, against Hugging Face transformers in float32, and OpenELM against NumPy in float64. */
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Engine, KvType } from '../../src/index.ts'
import { compareCase, loadFolder, readGolden, type Tolerance, vectors } from './golden.ts'

const exact: Tolerance = { logprob: 2e-3, floor: -20, margin: 0.02 }
const coarse: Tolerance = { logprob: 0.15, floor: -6, margin: 0.5 }

describe.each(['tiny-llama3', 'tiny-qwen2', 'tiny-qwen3', 'tiny-openelm'])('%s', (name) => {
  const { cases } = readGolden(`${name}/golden.json`, 'model')
  const folder = fileURLToPath(new URL(name, vectors))

  describe.each<{ build: 'simd128' | 'relaxed'; kv: KvType; tolerance: Tolerance }>([
    { build: 'simd128', kv: 'f32', tolerance: exact },
    { build: 'relaxed', kv: 'f32', tolerance: exact },
    { build: 'simd128', kv: 'f16', tolerance: { logprob: 0.02, floor: -10, margin: 0.1 } },
    { build: 'relaxed', kv: 'int8', tolerance: coarse },
  ])('$build, $kv', ({ build, kv, tolerance }) => {
    let engine: Engine
    beforeAll(async () => {
      engine = await loadFolder(folder, { build, kv, passTokens: 64 })
    })
    afterAll(() => engine?.close())

    test.each(cases)('tokenises "$name"', ({ prompt, ids }) => {
      expect(engine.tokenize(prompt!)).toEqual(ids)
    })

    test.each(cases)('continues "$name"', (expected) => compareCase(engine, expected, tolerance))
  })
})
