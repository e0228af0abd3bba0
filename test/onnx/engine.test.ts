/**
 * An ONNX session in the engine's interface answers the same as the Rust core with the same
 * weights, exact and from predicted K and V.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadGuides } from '../../node/guides.ts'
import { loadWasm } from '../../node/wasm.ts'
import type { GenerateRequest, ModelFiles } from '../../src/index.ts'
import { Engine, memorySource, OrtEngine, type OrtModule } from '../../src/index.ts'
import { openModel } from '../../src/model/open.ts'
import { memoryFiles } from '../../src/model/source.ts'
import { tokenizerJsonOf } from '../../src/model/tokenizer-json.ts'
import { writePredictor } from '../../src/predict/file.ts'
import { randomPrompt } from '../helpers/answers.ts'
import { expectNearlySame, type Given, type Greedy, greedyOf, logitBound } from '../helpers/nearly-same.ts'
import { llamaOnnx } from '../helpers/onnx-writer.ts'
import { rounds } from '../helpers/rounds.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { tinyPredictor } from '../helpers/tiny-predictor.ts'

const ort = (await import('onnxruntime-web')) as unknown as OrtModule
const wasm = await loadWasm('auto', 1)
const files = () => tinyFiles({ layers: 7, context: 512 })
let core: Engine
let onnx: Uint8Array
let engine: OrtEngine
beforeAll(async () => {
  const archive = await openModel(files())
  onnx = await llamaOnnx(archive)
  const plain = await Engine.load(files(), { wasm })
  const predictor = memorySource('tiny', await writePredictor(tinyPredictor(plain.identity)))
  await plain.close()
  core = await Engine.load(files(), { wasm, predictor, prefixBytes: 0, guides: loadGuides })
  engine = await OrtEngine.load(folder({ 'model.onnx': onnx }), { ort, reader: core, guides: loadGuides })
})
afterAll(() => Promise.all([core?.close(), engine?.close()]))

function folder(parts: Readonly<Record<string, Uint8Array>>): ModelFiles {
  return memoryFiles('exported', parts)
}

const json = (value: unknown) => new TextEncoder().encode(JSON.stringify(value))
const request = (at: number, change: Partial<GenerateRequest> = {}): GenerateRequest => ({
  prompt: randomPrompt(24 + ((at * 53) % 300), 300 + at),
  maxTokens: 32,
  ignoreEos: true,
  ...change,
})

/** Expects answers to be those of the Rust core, up to near ties. */
async function expectAsCore(answers: readonly [asked: GenerateRequest, got: Given][]): Promise<void> {
  const pairs: [Given, Greedy][] = []
  for (const [asked, got] of answers)
    pairs.push([{ ids: got.ids }, await greedyOf(core.submit({ ...asked, topLogprobs: 2 }))])
  expectNearlySame(pairs, logitBound(core.archive.config))
}

describe(`ids equal those of the Rust core, ${rounds(7, 20)} prompts of 32 tokens`, () => {
  test.each(['exact', 'predicted'] as const)('%s', async (prefill) => {
    const pairs: [Greedy, Greedy][] = []
    for (let at = 0; at < rounds(7, 20); at++) {
      const asked = request(at, { prefill, topLogprobs: 2 })
      const [got, want] = [await greedyOf(engine.submit(asked)), await greedyOf(core.submit(asked))]
      pairs.push([got, want])
      expect(got.done).toMatchObject({ prefill: want.done.prefill, finishReason: want.done.finishReason })
      if (got.ids.join() === want.ids.join()) expect(got.done.text).toBe(want.done.text)
    }
    expectNearlySame(pairs, logitBound(core.archive.config))
  })
})

test.each(['exact', 'predicted'] as const)(
  'a guided answer, with what the guide forces in one step, equals that of the core: %s',
  async (prefill) => {
    const guide = { kind: 'regex', regex: '(forced text [a-c]){3}!' } as const
    const asked = request(5, { guide, temperature: 1, seed: 2, maxTokens: 60, prefill })
    const before = engine.stats.passes
    const [got, want] = [await engine.result(asked), await core.submit(asked).result()]
    expect(got.ids).toEqual(want.ids)
    expect(got.text).toMatch(/^(forced text [abc]){3}!$/)
    expect(got.timings.forced_tokens).toBe(want.timings.forced_tokens)
    expect(engine.stats.passes - before).toBeLessThan(8)
  },
)

test('sampling, stops, log-probabilities and text equal those of any engine', async () => {
  const drawn = request(3, { temperature: 1, seed: 4, topLogprobs: 2 })
  const want = await core.submit(drawn).result()
  const events = []
  for await (const event of engine.generate(drawn)) events.push(event)
  expect(events.map(({ type }) => type)).toEqual(['prompt', ...Array(32).fill('token'), 'done'])
  expect(events.at(-1)).toMatchObject({ ids: want.ids, build: 'onnx default' })
  expect(events[1]).toMatchObject({ topLogprobs: [{}, {}] })
  const stop = [want.text.slice(5, 8)]
  expect((await engine.result({ ...drawn, stop })).text).toBe((await core.submit({ ...drawn, stop }).result()).text)
})

describe('concurrent requests', () => {
  test('alternate token by token, and each gives the same answer as alone', async () => {
    const asked = [1, 2, 3, 4].map((at) => request(at, { maxTokens: 12, ...(at === 3 && { prefill: 'predicted' }) }))
    const order: number[] = []
    const said = await Promise.all(
      asked.map(async (one, index) => {
        for await (const event of engine.submit(one)) {
          if (event.type === 'token') order.push(index)
          if (event.type === 'done') return event.ids
        }
        return []
      }),
    )
    for (const [index, one] of asked.entries()) expect(said[index]).toEqual((await core.submit(one).result()).ids)
    // Not one after the other.
    expect(order.lastIndexOf(0)).toBeGreaterThan(order.indexOf(2))
    expect(engine.stats).toMatchObject({ running: 0, waiting: 0 })
  })

  test('release their slots however they end: read, left, cancelled unread, aborted while waiting', async () => {
    const small = await OrtEngine.load(folder({ 'model.onnx': onnx }), {
      ort,
      reader: core,
      maxRunning: 1,
      maxWaiting: 2,
    })
    try {
      const slow = small.submit(request(1))
      const reading = slow[Symbol.asyncIterator]()
      await reading.next()
      await reading.next()
      const control = new AbortController()
      const waits = small.submit(request(2, { signal: control.signal }))
      const unread = small.submit(request(3))
      expect(small.stats).toMatchObject({ running: 1, waiting: 2 })
      expect(() => small.submit(request(4))).toThrow(expect.objectContaining({ code: 'busy' }))
      control.abort()
      await expect(all(waits)).rejects.toMatchObject({ code: 'aborted' })
      // Its reader stopped asking: only the cancellation tells.
      slow.cancel()
      await expect(reading.next()).rejects.toMatchObject({ code: 'aborted' })
      unread.cancel()
      await expect(all(unread)).rejects.toMatchObject({ code: 'aborted' })
      const asked = request(5, { maxTokens: 3 })
      const done = small.submit(asked)[Symbol.asyncIterator]()
      for (let event = await done.next(); event.value?.type !== 'done'; ) event = await done.next()
      // All events were delivered, but the loop has not been left.
      expect(small.stats).toMatchObject({ running: 0, waiting: 0, decode_tokens: expect.any(Number) })
      await expectAsCore([[asked, await small.result(asked)]])
    } finally {
      await small.close()
    }
  })

  test('end as aborted when the engine closes', async () => {
    const own = await OrtEngine.load(folder({ 'model.onnx': onnx }), { ort, reader: core })
    const [one, two] = [own.submit(request(1)), own.submit(request(2))]
    const first = one[Symbol.asyncIterator]()
    await first.next()
    await first.next()
    const other = expect(all(two)).rejects.toMatchObject({ code: 'aborted' })
    await own.close()
    await other
    await expect(first.next()).rejects.toMatchObject({ code: 'aborted' })
    await expect(own.result(request(3))).rejects.toMatchObject({ code: 'aborted' })
  })

  test('one that is left admits the next', async () => {
    const [one, two] = [request(1), request(2)]
    const left = engine.generate(one)
    await left.next()
    await left.next()
    const next = engine.result(two)
    await left.return(undefined)
    await expectAsCore([[two, await next]])
    const control = new AbortController()
    const aborted = (async () => {
      for await (const { type } of engine.generate({ ...one, signal: control.signal }))
        if (type === 'token') control.abort()
    })()
    await expect(aborted).rejects.toMatchObject({ code: 'aborted' })
    await expectAsCore([[one, await engine.result(one)]])
  })
})

async function all(answer: AsyncIterable<{ readonly type: string }>): Promise<string[]> {
  const types: string[] = []
  for await (const { type } of answer) types.push(type)
  return types
}

test('prompts packed into rows give the same answers as alone, with and without a mask of rows', async () => {
  const rows = await OrtEngine.load(
    folder({ 'model.onnx': await llamaOnnx(await openModel(files()), { maskOfRows: true }) }),
    { ort, reader: core },
  )
  try {
    const lengths = [40, 7, 90, 33, 90, 1, 52, 20]
    const requests = lengths.map((length, at) => ({
      prompt: randomPrompt(length, 70 + at),
      maxTokens: 8,
      ignoreEos: true,
    }))
    const answers = [...(await rows.resultMany(requests)), ...(await engine.resultMany(requests.slice(0, 3)))]
    answers.push(await rows.result(requests[2]!))
    await expectAsCore([...requests, ...requests.slice(0, 3), requests[2]!].map((asked, at) => [asked, answers[at]!]))
    await expect(rows.resultMany([{ ...requests[0]!, prefill: 'predicted' }])).rejects.toMatchObject({
      code: 'unsupported',
    })
    expect(await rows.resultMany([])).toEqual([])
  } finally {
    await rows.close()
  }
})

test('a folder with its own tokenizer needs no Rust core', async () => {
  const { tokenizer, config } = core.archive
  const alone = await OrtEngine.load(
    folder({
      'onnx/model.onnx': onnx,
      'config.json': json({
        model_type: 'anything',
        vocab_size: config.vocab,
        max_position_embeddings: 512,
        eos_token_id: tokenizer.eosIds[0],
      }),
      'tokenizer.json': json(tokenizerJsonOf(tokenizer)),
      'tokenizer_config.json': json(tokenizer.config),
    }),
    { ort },
  )
  try {
    const asked = { prompt: 'Once upon a time', raw: true, maxTokens: 16, ignoreEos: true }
    await expectAsCore([[asked, await alone.result(asked)]])
    await expect(alone.result({ ...asked, prefill: 'predicted' })).rejects.toMatchObject({ code: 'unsupported' })
    await expect(engine.result({ ...asked, prefill: 'refined' })).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('not refined'),
    })
    await expect(alone.result({ ...asked, prompt: 'a'.repeat(600) })).rejects.toMatchObject({
      code: 'context_exceeded',
    })
  } finally {
    await alone.close()
  }
})

describe('refused, with the next step', () => {
  const load = (parts: Readonly<Record<string, Uint8Array>>, reader: Engine = core) =>
    OrtEngine.load(folder(parts), { ort, reader })

  test.each<[string, () => Promise<unknown>, string, RegExp]>([
    ['no ONNX at all', () => load({ 'model.onnx': new TextEncoder().encode('hello') }), 'bad_model', /can't be opened/],
    ['no file', () => load({ 'readme.md': new Uint8Array(1) }), 'not_found', /no \.onnx file/],
    ['several files', () => load({ 'a.onnx': onnx, 'b.onnx': onnx }), 'not_found', /keep one/],
    [
      'an export without past K and V',
      async () => load({ 'model.onnx': await llamaOnnx(await openModel(files()), { withoutPast: true }) }),
      'unsupported',
      /text-generation-with-past/,
    ],
    [
      'another model than the reader’s',
      async () => {
        const other = await Engine.load(tinyFiles({ layers: 2 }), { wasm })
        try {
          return await load({ 'model.onnx': onnx }, other)
        } finally {
          await other.close()
        }
      },
      'wrong_model',
      /load the same model in both/,
    ],
    [
      'a config of no language model',
      () => OrtEngine.load(folder({ 'model.onnx': onnx, 'config.json': json({ model_type: 'vit' }) }), { ort }),
      'bad_model',
      /vocab_size/,
    ],
  ])('%s', async (_, failing, code, message) => {
    await expect(failing()).rejects.toMatchObject({ code, message: expect.stringMatching(message) })
  })

  test('a session that is not a causal language model, or keeps K and V in another type', async () => {
    const session = (change: object) => ({
      Tensor: ort.Tensor,
      InferenceSession: {
        create: async () => ({
          inputNames: ['input_ids', 'past_key_values.0.key'],
          outputNames: ['logits', 'present.0.key'],
          run: async () => ({}),
          ...change,
        }),
      },
    })
    const opening = (change: object) =>
      OrtEngine.load(folder({ 'model.onnx': onnx }), { ort: session(change) as never, reader: core })
    await expect(opening({ inputNames: ['pixel_values'] })).rejects.toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('not a causal language model'),
    })
    const told = (type: string, shape: readonly (string | number)[]) => ({
      inputMetadata: [{ name: 'past_key_values.0.key', type, shape }],
    })
    await expect(opening(told('int8', ['b', 2, 'p', 64]))).rejects.toMatchObject({
      message: expect.stringContaining('int8'),
    })
    await expect(opening(told('float32', ['b', 'h', 'p', 64]))).rejects.toMatchObject({
      message: expect.stringContaining('(b, h, p, 64)'),
    })
  })

  test('weights in a missing file', async () => {
    const failing = {
      Tensor: ort.Tensor,
      InferenceSession: {
        create: async () =>
          Promise.reject(
            new Error(
              'Failed to load external data file "model.onnx_data", error: Module.MountedFiles is not available.',
            ),
          ),
      },
    }
    await expect(
      OrtEngine.load(folder({ 'model.onnx': onnx }), { ort: failing as never, reader: core }),
    ).rejects.toMatchObject({
      code: 'bad_model',
      message: expect.stringContaining('put it beside the model'),
    })
  })
})
