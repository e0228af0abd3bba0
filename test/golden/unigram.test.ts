/** A tiny random XLM-R as an ONNX export, against sentence-transformers, and Unigram tokenizers against the reference. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { folderFiles } from '../../node/model-files.ts'
import { memorySource, OrtEngine, type OrtModule } from '../../src/index.ts'
import { encoderTokenizers } from '../../src/tokens/encoder-tokenizers.ts'
import { createTokenizer } from '../../src/tokens/tokenizer.ts'
import { cosine } from '../helpers/cosine.ts'
import { specOf } from '../helpers/tokenizer-spec.ts'
import { readGolden, vectors } from './golden.ts'

interface Step {
  readonly type: string
  readonly normalizers?: readonly Step[]
}

interface Golden {
  readonly cases: readonly {
    readonly name: 'mean' | 'cls'
    readonly texts: readonly string[]
    readonly vectors: readonly (readonly number[])[]
  }[]
  readonly models: readonly object[]
  readonly texts: readonly string[]
  readonly ids: readonly (readonly number[])[]
  readonly variants: readonly {
    readonly name: string
    readonly changes: { readonly model: number; readonly normalizer?: Step }
    readonly ids: readonly (readonly number[])[]
  }[]
}

const { cases, models, texts, ids, variants } = readGolden<Golden>('tiny-xlmr-onnx/golden.json', 'unigram')
const path = fileURLToPath(new URL('tiny-xlmr-onnx', vectors))
const json = JSON.parse(readFileSync(`${path}/tokenizer.json`, 'utf8'))
const open = (changes: object = {}) => createTokenizer(specOf({ ...json, ...changes }), encoderTokenizers)

/** Puts the charsmap back where a golden file leaves it out. */
function whole(step: Step): object {
  if (step.type === 'Precompiled') return json.normalizer
  return step.normalizers ? { ...step, normalizers: step.normalizers.map(whole) } : step
}

describe('the ids of odd texts are those of the reference', () => {
  test('with the tokenizer of transformers for XLM-R', () => {
    const { encode } = open()
    for (const [index, text] of texts.entries()) expect(encode(text), JSON.stringify(text)).toEqual(ids[index])
    expect(texts.length).toBeGreaterThan(200)
  })

  test.each(variants)(
    'with other steps and byte fallback: $name',
    ({ changes: { model, normalizer, ...rest }, ids }) => {
      const { encode } = open({ ...rest, ...(normalizer && { normalizer: whole(normalizer) }), model: models[model] })
      for (const [index, text] of texts.entries()) expect(encode(text), JSON.stringify(text)).toEqual(ids[index])
    },
  )
})

test('a special token in a text is only letters, and half of a pair is U+FFFD', () => {
  const { encode } = open()
  expect(encode('</s>')).not.toContain(2)
  expect(encode('</s>', { special: true })).toEqual([2])
  expect(encode('a\ud83db')).toEqual(encode('a\ufffdb'))
})

test('an export of an XLM-R makes the vectors of sentence-transformers', async () => {
  const ort = (await import('onnxruntime-web')) as unknown as OrtModule
  const engine = await OrtEngine.load(await folderFiles(path), { ort })
  for (const { name, texts, vectors } of cases) {
    const found = await engine.embed!(texts, { pooling: name })
    for (const [index, vector] of found.vectors.entries())
      expect(cosine(vector, vectors[index]!), texts[index]).toBeGreaterThan(0.99999)
  }
  expect(() => engine.submit({ prompt: 'a' })).toThrow(expect.objectContaining({ code: 'unsupported' }))
  await engine.close()
})

test('positions begin behind that of the padding, which shortens the context', async () => {
  const ort = (await import('onnxruntime-web')) as unknown as OrtModule
  const { name, files, open } = await folderFiles(path)
  const left = ['sentence_bert_config.json', 'tokenizer_config.json']
  const bare = { name, files: files.filter((file) => !left.includes(file)), open }
  const engine = await OrtEngine.load(bare, { ort })
  expect(engine.context).toBe(128)
  expect((await engine.embed!([Array(128).fill(5)])).tokens).toEqual([128])
  await engine.close()
  const config = JSON.parse(readFileSync(`${path}/config.json`, 'utf8'))
  const changed = new TextEncoder().encode(JSON.stringify({ ...config, model_type: 'bert' }))
  const other = {
    ...bare,
    open: async (file: string) => (file === 'config.json' ? memorySource(file, changed) : open(file)),
  }
  const bert = await OrtEngine.load(other, { ort })
  expect(bert.context).toBe(130)
  await bert.close()
})
