/** Families say what their models are as data; nothing outside their folder asks which family a model has. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import type { ModelConfig } from '../../src/base/model.ts'
import { families, familyOf, ggufFormOf, huggingFaceFormOf, specOf } from '../../src/model/families/index.ts'
import { expectedTensors } from '../../src/model/weights.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const config = (architecture: string, more: Partial<ModelConfig> = {}): ModelConfig => ({
  architecture,
  layers: 2,
  hidden: 64,
  intermediate: 96,
  heads: 4,
  kvHeads: 2,
  headDim: 16,
  vocab: 100,
  maxContext: 256,
  rmsEps: 1e-6,
  ropeTheta: 10_000,
  ropePairs: 'half',
  tiedEmbedding: true,
  ...more,
})

describe('the list of families', () => {
  test('has each name once in each format', () => {
    for (const of of [families.map(({ name }) => name), families.flatMap(({ huggingFace }) => huggingFace?.name ?? [])])
      expect(new Set(of).size).toBe(of.length)
  })

  test.each(families.map(({ name }) => name))('%s has a file, and a golden file', (name) => {
    expect(readdirSync(join(root, 'src/model/families'))).toContain(`${name}.ts`)
    expect(readdirSync(join(root, 'test/vectors')).some((folder) => folder.startsWith(`tiny-${name}`))).toBe(true)
  })

  test('is the only place that names a family: no other file has a condition on one', () => {
    const found: string[] = []
    for (const folder of ['src', 'edge', 'node', 'cli', 'web', 'playground', 'companion', 'workers', 'bench'])
      for (const file of readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })) {
        if (!/\.tsx?$/.test(file) || /node_modules|\.records/.test(file)) continue
        const path = join(folder, file)
        if (path.startsWith('src/model/families/')) continue
        const text = readFileSync(join(root, path), 'utf8')
        if (
          /(architecture|model_type)\s*[!=]==?|case '(llama|mi(ni)?stral|qwen[23]|openelm|gemma[23]|phi3|smollm3|granite|olmo2|lfm2|exaone4|hunyuan-dense)'/.test(
            text,
          )
        )
          found.push(path)
      }
    expect(found).toEqual([])
  })

  test.each([
    ['nemotron', /"nemotron" is not run: its norms subtract the mean.*squared ReLU; foretoken runs/],
    ['qwen35', /"qwen35" is not run: most of its layers are gated delta nets/],
    ['qwen3_5_text', /gated delta nets/],
    ['nemotron_h', /state spaces/],
    ['mamba', /architecture "mamba"; foretoken runs/],
    ['__proto__', /architecture "__proto__"; foretoken runs/],
  ])('refuses %s from both kinds of files, with the reason if it is known', (name, message) => {
    for (const form of [ggufFormOf, huggingFaceFormOf])
      expect(() => form(name, 'm')).toThrow(
        expect.objectContaining({ code: 'unsupported', message: expect.stringMatching(message) }),
      )
  })

  test('refuses unknown names', () => {
    expect(() => familyOf({ architecture: 'mamba' })).toThrow(/no family of models is called "mamba"/)
  })
})

describe('a recipe', () => {
  const namesIn = (architecture: string, more?: Partial<ModelConfig>) =>
    expectedTensors(config(architecture, more)).map(({ name }) => name)

  test('states what differs between families, and its tensors agree with it', () => {
    expect(specOf(config('llama')).layers[0]).toMatchObject({
      qkNorms: 'none',
      biases: { qkv: false, output: false },
      norms: { beforeAttention: true, afterAttention: false, beforeMlp: true, afterMlp: false },
      attention: { scale: 0.25 },
      activation: 'silu',
      residualScale: 1,
    })
    expect(specOf(config('qwen2')).layers[1]!.biases).toEqual({ qkv: true, output: false })
    expect(specOf(config('qwen3')).layers[1]!.qkNorms).toBe('heads')
    expect(specOf(config('openelm', { qkNorm: true })).layers[0]!.qkNorms).toBe('heads')
    expect(specOf(config('openelm', { qkNorm: false })).layers[0]!.qkNorms).toBe('none')
    expect(namesIn('llama')).not.toContain('layers.0.qNorm')
    expect(namesIn('qwen3')).toContain('layers.0.qNorm')
    expect(namesIn('qwen2')).toContain('layers.1.vBias')
  })

  test('has the rotation of the config, and a window for each layer', () => {
    const { layers } = specOf(config('llama', { windows: [32, 0], ropeDivisors: [2, 2, 2, 2, 2, 2, 2, 2] }))
    expect(layers.map(({ attention }) => attention.window)).toEqual([32, undefined])
    expect(layers[0]!.rope).toEqual({ headDim: 16, theta: 10_000, pairs: 'half', divisors: [2, 2, 2, 2, 2, 2, 2, 2] })
    expect(layers[0]!.rope).toBe(layers[1]!.rope)
  })

  test('has the shapes of layers that differ', () => {
    const perLayer = [
      { heads: 2, kvHeads: 1, intermediate: 32 },
      { heads: 4, kvHeads: 2, intermediate: 96 },
    ]
    expect(specOf(config('openelm', { perLayer })).layers).toMatchObject(perLayer)
  })
})
