/** A tiny random BERT as an ONNX export, against sentence-transformers, and its tokenizer against the reference. */
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { isOnnx } from '../../node/index.ts'
import { folderFiles } from '../../node/model-files.ts'
import { type EmbedOptions, type ModelFiles, memorySource, OrtEngine, type OrtModule } from '../../src/index.ts'
import { bertTokenizers } from '../../src/tokens/bert.ts'
import { createTokenizer } from '../../src/tokens/tokenizer.ts'
import { cosine } from '../helpers/cosine.ts'
import { readGolden, vectors } from './golden.ts'

interface Golden {
  readonly cases: readonly {
    readonly name: string
    readonly texts: readonly string[]
    readonly vectors: readonly (readonly number[])[]
  }[]
  readonly tokens: readonly { readonly text: string; readonly ids: readonly number[] }[]
}

const ort = (await import('onnxruntime-web')) as unknown as OrtModule
const { cases, tokens } = readGolden<Golden>('tiny-bert-onnx/golden.json', 'encoders')
const path = fileURLToPath(new URL('tiny-bert-onnx', vectors))
const states = 'onnx/model.onnx'
const pooled = 'onnx/pooled.onnx'

/** Returns the folder with one of its graphs, and files changed: a value of JSON, or undefined for none. */
async function folder(graph = states, changes: Readonly<Record<string, unknown>> = {}): Promise<ModelFiles> {
  const { name, files, open } = await folderFiles(path)
  const kept = files.filter((file) => (!file.endsWith('.onnx') || file === graph) && !(file in changes))
  const put = Object.entries(changes).filter(([, value]) => value !== undefined)
  return {
    name,
    files: [...kept, ...put.map(([file]) => file)],
    open: async (file) =>
      file in changes ? memorySource(file, new TextEncoder().encode(JSON.stringify(changes[file]))) : open(file),
  }
}

const load = async (...given: Parameters<typeof folder>) => OrtEngine.load(await folder(...given), { ort })

async function expectVectors(engine: OrtEngine, name: string, options: EmbedOptions = {}): Promise<void> {
  const { texts, vectors } = cases.find((one) => one.name === name)!
  const found = await engine.embed!(texts, options)
  expect(found.vectors).toHaveLength(texts.length)
  for (const [index, vector] of found.vectors.entries()) {
    expect(cosine(vector, vectors[index]!), texts[index]).toBeGreaterThan(0.99999)
    expect(Math.hypot(...vector)).toBeCloseTo(1, 5)
  }
}

describe('a graph that gives states', () => {
  let engine: OrtEngine
  beforeAll(async () => {
    engine = await load()
  })
  afterAll(() => engine?.close())

  test('pools the mean, as its folder says', () => expectVectors(engine, 'mean'))
  test.each(['cls', 'last', 'mean'] as const)('pools %s on request', (pooling) =>
    expectVectors(engine, pooling, { pooling }),
  )

  test('a text has the same bits alone and among others, in any order, as text and as ids', async () => {
    const { texts } = cases[0]!
    const all = await engine.embed!(texts.toReversed())
    const [alone] = (await engine.embed!(texts[2]!)).vectors
    expect(all.vectors.at(-3)).toEqual(alone)
    const tokenizer = createTokenizer(engine.archive.tokenizer, bertTokenizers)
    const ids = [2, ...tokenizer.encode(texts[2]!), 3]
    expect((await engine.embed!(ids)).vectors).toEqual([alone])
    expect(all.tokens.at(-3)).toBe(ids.length)
  })

  test('reports progress, cuts vectors, leaves them unscaled, and puts a prefix before texts', async () => {
    const done: string[] = []
    const onProgress = (now: number, all: number) => void done.push(`${now}/${all}`)
    const cut = await engine.embed!(['the cat', 'sat'], { dimensions: 8, onProgress })
    expect(cut.vectors.map(({ length }) => length)).toEqual([8, 8])
    expect(done).toEqual(['1/2', '2/2'])
    const [long] = (await engine.embed!('the cat', { normalize: false })).vectors
    expect(Math.hypot(...long!)).not.toBeCloseTo(1, 2)
    expect((await engine.embed!('cat', { prefix: 'the ' })).vectors).toEqual((await engine.embed!('the cat')).vectors)
  })

  test.each<[string, unknown, EmbedOptions, object]>([
    [
      'too long',
      'cat '.repeat(95),
      {},
      {
        code: 'context_exceeded',
        message: /^the text has more than 94 tokens.*96, of which the model's own marks take 2; shorten/,
      },
    ],
    ['too many ids', Array(97).fill(5), {}, { code: 'context_exceeded', message: /97 tokens, and .* at most 96/ }],
    ['an id outside', [1e6], {}, { code: 'bad_argument' }],
    ['no ids', [[]], {}, { code: 'empty_prompt' }],
    ['a number', 5, {}, { code: 'bad_argument' }],
    ['too many dimensions', 'a', { dimensions: 33 }, { code: 'bad_argument', message: /1 to 32/ }],
    ['an unknown kind', 'a', { kind: 'poem' }, { code: 'bad_argument', message: /no prompt named "poem"/ }],
    ['a signal that has fired', 'a', { signal: AbortSignal.abort() }, { code: 'aborted' }],
  ])('%s is refused', async (_, input, options, failure) => {
    const error = await engine.embed!(input as string, options).catch((error) => error)
    const { message, ...rest } = failure as { message?: RegExp }
    expect(error).toMatchObject(rest)
    if (message) expect(error.message).toMatch(message)
  })

  test('answers are refused with the next step', async () => {
    const failure = {
      code: 'unsupported',
      message: expect.stringMatching(/^a bert model makes embeddings.*\/v1\/embeddings/),
    }
    expect(() => engine.submit({ prompt: 'a' })).toThrow(expect.objectContaining(failure))
    await expect(engine.prepare([{ role: 'user', content: 'a' }])).rejects.toMatchObject(failure)
    await expect(engine.generate('a').next()).rejects.toMatchObject(failure)
    await expect(engine.resultMany([{ prompt: 'a' }])).rejects.toMatchObject(failure)
  })

  test('texts of several calls take turns, and closing ends them', async () => {
    const own = await load()
    const calls = [1, 2].map(() => own.embed!(cases[0]!.texts))
    expect((await calls[0]!).vectors).toEqual((await calls[1]!).vectors)
    const last = own.embed!(Array(50).fill('the cat')).catch((error) => error)
    await own.close()
    expect(await last).toMatchObject({ code: 'aborted' })
    await expect(own.embed!('a')).rejects.toMatchObject({ code: 'aborted' })
  })
})

test('a graph that pools itself gives the same vectors, and no others', async () => {
  const engine = await load(pooled)
  await expectVectors(engine, 'mean')
  await expect(engine.embed!('a', { pooling: 'cls' })).rejects.toMatchObject({
    code: 'unsupported',
    message: expect.stringContaining('leave pooling out'),
  })
  await engine.close()
})

test('a folder without modules needs a pooling, unless its graph pools', async () => {
  const bare = { 'modules.json': undefined, '1_Pooling/config.json': undefined, 'sentence_bert_config.json': undefined }
  const engine = await load(states, bare)
  expect(engine.context).toBe(128)
  await expect(engine.embed!('a')).rejects.toMatchObject({
    code: 'unsupported',
    message: expect.stringContaining('choose a pooling'),
  })
  await expectVectors(engine, 'mean', { pooling: 'mean' })
  await engine.close()
  const whole = await load(pooled, bare)
  await expectVectors(whole, 'mean')
  await whole.close()
})

test('the folder lowers texts first if it says so, and an unknown tokenizer is refused by name', async () => {
  const cased = { 'sentence_bert_config.json': { do_lower_case: true, max_seq_length: 10 } }
  const engine = await load(states, cased)
  expect(engine.context).toBe(10)
  expect((await engine.embed!('THE CAT')).vectors).toEqual((await engine.embed!('the cat')).vectors)
  await engine.close()
  const file = await (await folder()).open('tokenizer.json')
  const bytes = new Uint8Array(file.size)
  await file.read(0, bytes)
  const json = JSON.parse(new TextDecoder().decode(bytes))
  const tokenizers: [object, string][] = [
    [
      { model: { ...json.model, type: 'WordLevel' } },
      'its model is "WordLevel"; BPE, WordPiece and Unigram are supported',
    ],
    [{ model: { ...json.model, type: 'Unigram' } }, 'its vocab is an object, not a list of pieces'],
    [{ model: { ...json.model, unk_token: 'none' } }, 'its unk_token is "none"'],
    [{ model: { ...json.model, max_input_chars_per_word: 1e9 } }, 'its max_input_chars_per_word'],
    [{ normalizer: { type: 'BertNormalizer', lowercase: 1 } }, 'BertNormalizer has 1'],
    [
      { post_processor: { type: 'BertProcessing', cls: ['[CLS]', 1e9], sep: ['[SEP]', 3] } },
      'around a text, without ids',
    ],
  ]
  for (const [change, why] of tokenizers)
    await expect(load(states, { 'tokenizer.json': { ...json, ...change } })).rejects.toThrow(why)
  // The older form of the same template.
  const older = { type: 'BertProcessing', sep: ['[SEP]', 3], cls: ['[CLS]', 2] }
  const same = await load(states, { 'tokenizer.json': { ...json, post_processor: older } })
  await expectVectors(same, 'mean')
  await same.close()
})

test('the ids of odd texts are those of the reference', async () => {
  const engine = await load()
  const { encode } = createTokenizer(engine.archive.tokenizer, bertTokenizers)
  for (const { text, ids } of tokens) expect([2, ...encode(text), 3], JSON.stringify(text)).toEqual(ids)
  expect(tokens.length).toBeGreaterThan(100)
  // A special token in a text is only letters.
  expect(encode('[SEP]')).not.toContain(3)
  await engine.close()
})

test('such a folder is an ONNX model by its path', async () => {
  expect(await isOnnx(path)).toBe(true)
})

describe('a number of the folder that makes no sense is refused by its key', () => {
  const file = async (name: string): Promise<object> => {
    const source = await (await folder()).open(name)
    const bytes = new Uint8Array(source.size)
    await source.read(0, bytes)
    return JSON.parse(new TextDecoder().decode(bytes))
  }
  const keys: readonly [string, string][] = [
    ['config.json', 'vocab_size'],
    ['config.json', 'max_position_embeddings'],
    ['config.json', 'hidden_size'],
    ['sentence_bert_config.json', 'max_seq_length'],
    ['tokenizer_config.json', 'model_max_length'],
  ]
  test.each(keys)('%s: %s', async (name, key) => {
    const before = await file(name)
    for (const value of [0, -1, 1.5, '', 'x', [], {}, true]) {
      const changed = load(states, { [name]: { ...before, [key]: value } })
      await expect(changed, String(value)).rejects.toMatchObject({
        code: 'bad_model',
        message: expect.stringMatching(new RegExp(`${name}: ${key} is .*; expected .*: (correct|take)`)),
      })
    }
  })

  test('a longest text without room for what is around it, and letters that are neither lowered nor not', async () => {
    const said = (config: object) => load(states, { 'sentence_bert_config.json': config })
    await expect(said({ max_seq_length: 2 })).rejects.toThrow(/max_seq_length is 2; expected .* at least 3 tokens/)
    await expect(said({ do_lower_case: 'yes' })).rejects.toThrow(/do_lower_case is "yes"; expected true or false/)
  })

  test('no limit is none', async () => {
    for (const model_max_length of [1e30, null]) {
      const engine = await load(states, {
        'sentence_bert_config.json': undefined,
        'tokenizer_config.json': { ...(await file('tokenizer_config.json')), model_max_length },
      })
      expect(engine.context).toBe(128)
      await engine.close()
    }
  })
})

test('a context beyond what the model reads is refused, as by Engine.load', async () => {
  const given = await folder()
  await expect(OrtEngine.load(given, { ort, context: 97 })).rejects.toMatchObject({
    code: 'bad_argument',
    message: expect.stringMatching(/context is 97; it must be a whole number from 2 to 96 for tiny-bert-onnx/),
  })
  // No model reads so many tokens, so that the options are refused before the model is opened.
  await expect(OrtEngine.load(given, { ort, context: 1e9 })).rejects.toMatchObject({
    code: 'bad_argument',
    message: expect.stringMatching(/context is 1000000000; it must be a whole number from \d+ to \d+/),
  })
})
