/** Each architecture on a tiny random model, against Hugging Face transformers in float32, and OpenELM against NumPy in float64. */
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Engine, KvType } from '../../src/index.ts'
import { compareCase, type Golden, loadFolder, readGolden, type Tolerance, vectors } from './golden.ts'

const exact: Tolerance = { logprob: 2e-3, floor: -20, margin: 0.02 }
const coarse: Tolerance = { logprob: 0.15, floor: -6, margin: 0.5 }

const twins = [
  'llama3',
  'qwen2',
  'qwen3',
  'mistral',
  'gemma3',
  'gemma2',
  'phi3',
  'smollm3',
  'granite',
  'olmo2',
  'lfm2',
  'exaone4',
  'hunyuan-dense',
]
const folders = [
  ...['tiny-openelm', 'tiny-exaone4-windows', 'tiny-ministral'],
  ...twins.flatMap((name) => [`tiny-${name}`, `tiny-${name}/gguf`]),
]

describe.each(folders)('%s', (name) => {
  const { cases, texts = [] } = readGolden<Golden & { texts?: readonly { text: string; ids: readonly number[] }[] }>(
    `${name.replace('/gguf', '')}/golden.json`,
    'model',
  )
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
      expect(engine.promptIds(prompt!, { raw: true })).toEqual(ids)
    })

    test.each(texts)('tokenises $text', ({ text, ids }) => {
      expect(engine.promptIds(text, { raw: true })).toEqual(ids)
    })

    test.each(cases)('continues "$name"', (expected) => compareCase(engine, expected, tolerance))
  })
})

describe('the window of tiny-mistral', () => {
  const { cases } = readGolden('tiny-mistral/golden.json', 'model')
  const folder = fileURLToPath(new URL('tiny-mistral', vectors))
  const long = cases.find(({ ids }) => ids.length > 100)!

  /** Log-probabilities of the reference's likeliest tokens. */
  async function scores(options: Parameters<typeof loadFolder>[1]): Promise<number[]> {
    const engine = await loadFolder(folder, { build: 'simd128', kv: 'f32', ...options })
    try {
      const { logits } = await engine.prefill(long.ids)
      const sum = Math.log(logits.reduce((total, logit) => total + Math.exp(logit), 0))
      return long.top.map(([id]) => logits[id]! - sum)
    } finally {
      await engine.close()
    }
  }

  test('determines its answers: without it they differ', async () => {
    const far = (got: readonly number[]) =>
      got.reduce((most, logprob, i) => Math.max(most, Math.abs(logprob - long.top[i]![1])), 0)
    expect(far(await scores({}))).toBeLessThan(2e-3)
    expect(far(await scores({ ignoreConfig: ['sliding_window'] }))).toBeGreaterThan(0.1)
  })

  test('has the same effect however a prompt is split into passes', async () => {
    const whole = await scores({ passTokens: 256 })
    for (const passTokens of [16, 37]) expect(await scores({ passTokens })).toEqual(whole)
  })

  test('GGUF and folder have the same numbers', async () => {
    const all: number[][] = []
    for (const name of ['tiny-mistral', 'tiny-mistral/gguf']) {
      const engine = await loadFolder(fileURLToPath(new URL(name, vectors)), { build: 'simd128', kv: 'f32' })
      const session = await engine.prefill(long.ids)
      all.push(Array.from(session.logits))
      await engine.close()
    }
    all[0]!.forEach((value, i) => {
      expect(all[1]![i]).toBeCloseTo(value, 4)
    })
  })
})
