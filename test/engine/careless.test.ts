/**
 * Calls every public method with arbitrary arguments: errors are ForetokenErrors of the closed
 * list, nothing hangs, and the engine answers afterwards. To look for more,
 * `FORETOKEN_SEED=random FORETOKEN_RUNS=3000` draws others; careless-fields.test.ts misses none of
 * the single values.
 */

import { afterAll, describe, expect, test } from 'vitest'
import * as library from '../../src/index.ts'
import { Engine, OrtEngine } from '../../src/index.ts'
import { key, openServices, prompt, read } from '../helpers/careless-services.ts'
import { expectClosed, failureOf, ownError, throwing, trap } from '../helpers/hostile-values.ts'
import fc from '../helpers/properties.ts'
import { seed } from '../helpers/seed.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'

const { engine, ort, routed, close } = await openServices()
afterAll(close)

const names = [
  'prompt',
  'guide',
  'kind',
  'schema',
  'choices',
  'maxTokens',
  'stop',
  'after',
  'signal',
  'tenant',
  'id',
  'stopTokenIds',
  'logitBias',
  'seed',
  'temperature',
  'prefill',
  'raw',
  'templateValues',
  'onPrefill',
  'topLogprobs',
  'minTokens',
  'codec',
  'key',
  'context',
  'role',
  'content',
  'length',
  'name',
  'files',
  'open',
  'size',
  'read',
  'url',
  'concurrency',
]

const scalar = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    undefined,
    true,
    false,
    '',
    'abc',
    0,
    -1,
    1,
    1.5,
    NaN,
    Infinity,
    -Infinity,
    2 ** 53,
    1e308,
    10n,
    Symbol('s'),
    () => 1,
    async () => Promise.reject(ownError),
  ),
  fc.constantFrom<unknown>(
    new Date(0),
    /x/,
    new Map(),
    new Set([1]),
    new Uint8Array(3),
    new Float64Array(2),
    new ArrayBuffer(4),
    Object.create(null),
    new Error('x'),
    Promise.resolve(1),
  ),
  fc.constantFrom(...names).map(throwing),
  fc.constant(undefined).map(trap),
  fc.constant(undefined).map(() => 'x'.repeat(300_000)),
  fc.constant(undefined).map(() => '<|im_start|>'.repeat(2000)),
  fc.string(),
  fc.integer(),
)
const { junk } = fc.letrec<{ junk: unknown }>((tie) => ({
  junk: fc.oneof(
    { maxDepth: 3, depthSize: 'small' },
    { weight: 3, arbitrary: scalar },
    { weight: 1, arbitrary: fc.array(tie('junk'), { maxLength: 4 }) },
    { weight: 1, arbitrary: fc.dictionary(fc.constantFrom(...names), tie('junk'), { maxKeys: 4 }) },
    // Nearly right.
    {
      weight: 1,
      arbitrary: fc
        .tuple(fc.constantFrom(...names), tie('junk'))
        .map(([name, value]) => ({ prompt, maxTokens: 2, codec: 'f32', key, [name]: value })),
    },
    { weight: 1, arbitrary: fc.array(fc.integer({ min: -1, max: 400 }), { maxLength: 40 }) },
    {
      weight: 1,
      arbitrary: fc.array(fc.record({ role: fc.constantFrom('user', 'x'), content: tie('junk') }), { maxLength: 3 }),
    },
  ),
}))

// biome-ignore lint/suspicious/noExplicitAny: anything at all
type Call = (...args: any[]) => unknown
const session = async (id: unknown) => {
  const opened = await engine.prefill(prompt)
  try {
    return await opened.step(id as number)
  } finally {
    opened.release()
  }
}
const receiving = async (body: unknown, options: unknown) => {
  const expected = engine.expectKv(Array.from({ length: 40 }, (_, at) => at))
  try {
    return await expected.receive(body as never, options as never)
  } finally {
    expected.release()
  }
}

const calls: Record<string, Call> = {
  'Engine.load': async (files, options) => (await Engine.load(files, options)).close(),
  'Engine.load of a model': async (options) => (await Engine.load(tinyFiles(), options)).close(),
  'OrtEngine.load': async (files, options) => (await OrtEngine.load(files, options)).close(),
  openModel: library.openModel,
  openGuides: (make) => library.openGuides(make),
  guideOf: library.guideOf,
  jsonGuide: (schema, options) => library.jsonGuide(schema, options),
  'guideOf of a format': (format) => library.guideOf({ response_format: format }),
  'guideOf of outputs': (outputs) => library.guideOf({ structured_outputs: outputs }),
  'submit with a guide': (guide) => read(engine.submit({ prompt, guide, maxTokens: 2 })),
  'submit with a schema': (schema) =>
    read(engine.submit({ prompt, guide: { kind: 'json_schema', schema }, maxTokens: 2 })),
  'submit with choices': (choices) => read(engine.submit({ prompt, guide: { kind: 'choice', choices }, maxTokens: 2 })),
  generate: (...args) => read(engine.generate(...(args as [never]))),
  submit: (request) => read(engine.submit(request)),
  'submit, result': (request) => engine.submit(request).result(),
  generateMany: async (requests, options) => {
    for await (const { error } of engine.generateMany(requests, options)) if (error) expectClosed(error)
  },
  'generateMany of one': async (request) => {
    for await (const { error } of engine.generateMany([request])) if (error) expectClosed(error)
  },
  savePrefix: (opening) => engine.savePrefix(opening),
  loadPrefix: async (...args) => (await engine.loadPrefix(...(args as [never]))).release(),
  saveChunks: (texts) => engine.saveChunks(texts),
  loadChunks: async (...args) => (await engine.loadChunks(...(args as [never]))).release(),
  kvOf: (ids, options) => read(engine.kvOf(ids, options)),
  'kvOf a prompt': (options) => read(engine.kvOf(prompt, options)),
  expectKv: (ids, options) => engine.expectKv(ids, options).release(),
  receive: receiving,
  promptIds: (...args) => engine.promptIds(...(args as [never])),
  prepare: (...args) => engine.prepare(...(args as [never])),
  prefill: async (...args) => (await engine.prefill(...(args as [never]))).release(),
  prefillMany: async (...args) => {
    for (const opened of await engine.prefillMany(...(args as [never]))) opened.release()
  },
  step: session,
  score: (ids) => engine.score(ids),
  logits: (ids) => engine.logits(ids),
  tokenize: (...args) => engine.tokenize(...(args as [never])),
  'OrtEngine.submit': (request) => read(ort.submit(request)),
  'OrtEngine.generate': (...args) => read(ort.generate(...(args as [never]))),
  'OrtEngine.generateMany': async (requests, options) => {
    for await (const { error } of ort.generateMany(requests, options)) if (error) expectClosed(error)
  },
  'OrtEngine.result': (request) => ort.result(request),
  'OrtEngine.resultMany': (requests) => ort.resultMany(requests),
  'OrtEngine.prepare': (...args) => ort.prepare(...(args as [never])),
  'OrtEngine.promptIds': (...args) => ort.promptIds(...(args as [never])),
  'Routed.submit': (request) => read(routed.submit(request)),
  'Routed.generate': (...args) => read(routed.generate(...(args as [never]))),
  'Routed.generateMany': async (requests, options) => {
    for await (const { error } of routed.generateMany(requests, options)) if (error) expectClosed(error)
  },
  'Routed.promptIds': (...args) => routed.promptIds(...(args as [never])),
  'Routed.prepare': (...args) => routed.prepare(...(args as [never])),
  isAnyEngine: library.isAnyEngine,
  memorySource: async (name, bytes, at, into) => library.memorySource(name, bytes).read(at, into),
  readPredictorHeader: library.readPredictorHeader,
  keyBytes: library.keyBytes,
  seedOf: library.seedOf,
  seedIn: library.seedIn,
  nextSeed: library.nextSeed,
  sign: library.sign,
  isSignedBy: library.isSignedBy,
  isBodyOf: library.isBodyOf,
  parseSigned: library.parseSigned,
  signedVersion: library.signedVersion,
  'LineSeal.of': library.LineSeal.of,
  asForetokenError: library.asForetokenError,
}

const runs = Number(process.env.FORETOKEN_RUNS ?? 60)

describe('careless calls of', () => {
  test.each(Object.keys(calls))(
    '%s',
    async (name) => {
      const failures: string[] = []
      const property = fc.asyncProperty(fc.array(junk, { maxLength: 3 }), async (args) => {
        const failure = await failureOf(() => calls[name]!(...args))
        if (failure !== undefined) failures.push(failure)
      })
      // A failure is reported by its stack: random values cannot be printed, and shrinking adds
      // nothing.
      await fc.check(property, { numRuns: runs })
      expect(failures, `seed ${seed}`).toEqual([])
      expect((await engine.submit({ prompt, maxTokens: 2, ignoreEos: true }).result()).ids).toHaveLength(2)
      expect(engine.stats).toMatchObject({ running: 0, waiting: 0 })
      expect(engine.stats.pages_in_use).toBe(engine.stats.prefix_pages)
    },
    120_000,
  )

  test('every exported function or class is called above, or has a test of its own', () => {
    const elsewhere = [
      // Helpers of the endpoints for tools, tested in test/tools and test/tokens.
      ...['AnswerReader', 'effortValues', 'planAnswer', 'nextTurn'],
      'Callback',
      'callAside',
      'ForetokenError',
      'Lifetime',
      'WaitBudget',
      'Nonces',
      'parseJson',
      'receiveKv',
      'RemoteCompanion',
      'StaticCompanions',
      'Submission',
      'Router',
      // Helpers of the endpoints and their bounds, tested in test/base and test/model.
      ...[
        'at',
        'defined',
        'Gate',
        'Shares',
        'equalBytes',
        'fromHex',
        'toHex',
        'sha256Hex',
        'sha256Sync',
        'isWhole',
        'after',
        'within',
        'millisecondsOf',
        'guideNameOf',
        'ModelPool',
        'nearest',
        'nearestOf',
      ],
      ...['activationBytes', 'pageLayout', 'specOf'],
    ]
    const called = Object.keys(calls).map((name) => name.split(/[. ]/)[0])
    for (const [name, value] of Object.entries(library))
      if (typeof value === 'function') expect([...elsewhere, ...called, 'Engine']).toContain(name)
  })
})

describe('a wrong argument is reported by name', () => {
  test.each<[string, () => unknown, RegExp]>([
    [
      'generateMany([null])',
      async () => throwIfFailed(await one(engine.generateMany([null as never]))),
      /the request is null; it must be an object/,
    ],
    ['generateMany(null)', () => one(engine.generateMany(null as never)), /requests is null/],
    ['generate({prompt: {}})', () => one(engine.generate({ prompt: {} } as never)), /prompt is of type object/],
    ['submit({prompt: {}})', async () => engine.submit({ prompt: {} as never }), /prompt is of type object/],
    ['submit({})', async () => engine.submit({} as never), /prompt is undefined/],
    [
      'messages without roles',
      async () => engine.submit({ prompt: [{ content: 'x' }] as never }),
      /prompt\[0\] has no role/,
    ],
    ['score("abc")', () => engine.score('abc' as never), /ids is "abc"; it must be a list/],
    ['score([1.5])', () => engine.score([1.5]), /1.5 is not a token id/],
    ['loadPrefix(null)', () => engine.loadPrefix(null as never), /file is null; it must be a Uint8Array/],
    ['openModel(undefined)', () => library.openModel(undefined as never), /files is undefined/],
    ['Engine.load without a core', () => Engine.load(tinyFiles(), {} as never), /wasm is undefined/],
    ['a getter that throws', async () => engine.submit(throwing('prompt') as never), /out of a getter/],
    ['step("x")', () => session('x'), /step: "x" is not a token id/],
  ])('%s', async (_, call, words) => {
    await expect((async () => call())()).rejects.toMatchObject({
      name: 'ForetokenError',
      code: 'bad_argument',
      message: expect.stringMatching(words),
    })
  })

  test('null is treated as absent', async () => {
    const nothing = {
      after: null,
      stop: null,
      seed: null,
      signal: null,
      tenant: null,
      onPrefill: null,
      stopTokenIds: null,
      logitBias: null,
    }
    expect((await engine.submit({ prompt, maxTokens: 1, ...nothing } as never).result()).type).toBe('done')
  })
})

async function one<T>(events: AsyncIterable<T>): Promise<T | undefined> {
  for await (const event of events) return event
  return undefined
}

function throwIfFailed(outcome: library.Outcome | undefined): void {
  if (outcome?.error) throw outcome.error
}
