/**
 * Calls every public method with every hostile value in every field of its options and in every
 * place of its arguments, the rest being right. Nothing here is drawn: what passes once passes
 * always. test/engine/careless.test.ts draws combinations.
 */
import { afterAll, describe, expect, test } from 'vitest'
import { engineChecks, manyChecks, prefillChecks, requestChecks, scheduleChecks } from '../../src/engine/options.ts'
import {
  Engine,
  OrtEngine,
  openModel,
  RemoteCompanion,
  Routed,
  Router,
  receiveKv,
  StaticCompanions,
} from '../../src/index.ts'
import { openChecks } from '../../src/model/open.ts'
import { memoryFiles } from '../../src/model/source.ts'
import { ortChecks } from '../../src/onnx/options.ts'
import { routerChecks } from '../../src/route/router.ts'
import { routedChecks } from '../../src/route/service.ts'
import { prepareChecks, promptIdsChecks } from '../../src/tokens/prompts.ts'
import { expectChecks, kvBodyChecks } from '../../src/transfer/expected-kv.ts'
import { receiveChecks } from '../../src/transfer/receive-kv.ts'
import { addressChecks, patienceChecks } from '../../src/transfer/remote.ts'
import { kvChecks } from '../../src/transfer/sender.ts'
import { address, key, openServices, patience, prompt, read, refusing } from '../helpers/careless-services.ts'
import { expectCareful, expectClosed, wraps } from '../helpers/hostile-values.ts'
import { tinyFiles, tinyGguf } from '../helpers/tiny-model.ts'

/** Loaded some thousand times. */
const bytes = tinyGguf({ context: 64, layers: 1, hidden: 64 })
const small = () => memoryFiles('tiny', { 'tiny.gguf': bytes })

const { wasm, engine, ort, runtime, onnx, companions, routed, close } = await openServices()
// An ONNX engine may close its reader, and then nobody else's.
const spare = await Engine.load(tinyFiles({ context: 64 }), { wasm, threads: 1 })
afterAll(async () => {
  await spare.close()
  await close()
})

type Fields = Readonly<Record<string, unknown>>
/** Calls with the options, of which one field is hostile. */
type Call = (options: never) => unknown

const request = { prompt, maxTokens: 2 }
const kv = { codec: 'f32', key }
/** A prompt that leaves few tokens to answers without a limit. */
const nearlyFull = Array.from({ length: 253 }, (_, at) => 3 + (at % 200))
const forty = Array.from({ length: 40 }, (_, at) => at)
const file = await engine.savePrefix('x'.repeat(100))
const chunks = await engine.saveChunks(['x'.repeat(40)])
async function* nothing(): AsyncGenerator<Uint8Array<ArrayBuffer>> {}

const target = {
  codec: { kvBytes() {}, decodeKv() {} },
  cache: { pool: { readPage() {}, writePage() {} } },
  sequence: { length: 0, extend() {}, truncate() {} },
}
const receiving = { ...target, identity: {}, ids: prompt, to: 0, key }

async function outcomes(answers: AsyncIterable<{ readonly error?: unknown }>): Promise<void> {
  for await (const { error } of answers) if (error) throw error
}

/** The checks of the options of each method, options that it takes, and its call. */
const methods: Readonly<Record<string, [checks: object, right: Fields, call: Call]>> = {
  'Engine.load': [engineChecks, { wasm, threads: 1 }, async (options) => (await Engine.load(small(), options)).close()],
  'Engine.load, schedule': [
    scheduleChecks,
    {},
    async (schedule) => (await Engine.load(small(), { wasm, threads: 1, schedule })).close(),
  ],
  openModel: [openChecks, {}, (options) => openModel(small(), options)],
  'Engine.submit': [requestChecks, request, (options) => read(engine.submit(options))],
  'Engine.generate': [requestChecks, request, (options) => read(engine.generate(options))],
  'Engine.generate of a prompt': [requestChecks, { maxTokens: 2 }, (options) => read(engine.generate(prompt, options))],
  'Engine.generateMany': [requestChecks, request, (options) => outcomes(engine.generateMany([options]))],
  'Engine.generateMany, options': [manyChecks, {}, (options) => outcomes(engine.generateMany([request], options))],
  'Engine.prepare': [prepareChecks, {}, (options) => engine.prepare('abc', options)],
  'Engine.promptIds': [promptIdsChecks, {}, (options) => engine.promptIds('abc', options)],
  'Engine.prefill': [prefillChecks, {}, async (options) => (await engine.prefill(prompt, options)).release()],
  'Engine.loadPrefix': [expectChecks, {}, async (options) => (await engine.loadPrefix(file, options)).release()],
  'Engine.loadChunks': [expectChecks, {}, async (options) => (await engine.loadChunks(chunks, options)).release()],
  'Engine.kvOf': [kvChecks, kv, (options) => read(engine.kvOf(forty, options))],
  'Engine.expectKv': [expectChecks, {}, (options) => engine.expectKv(forty, options).release()],
  'ExpectedKv.receive': [
    kvBodyChecks,
    { key },
    async (options) => {
      const expected = engine.expectKv(forty)
      try {
        await expected.receive(nothing(), options)
      } finally {
        expected.release()
      }
    },
  ],
  receiveKv: [receiveChecks, receiving, (options) => receiveKv(nothing(), options)],
  'OrtEngine.load': [
    ortChecks,
    { ort: runtime, reader: spare },
    async (options) => (await OrtEngine.load(onnx(), options)).close(),
  ],
  'OrtEngine.submit': [requestChecks, request, (options) => read(ort.submit(options))],
  'OrtEngine.generate': [requestChecks, request, (options) => read(ort.generate(options))],
  'OrtEngine.generateMany': [requestChecks, request, (options) => outcomes(ort.generateMany([options]))],
  'OrtEngine.result': [requestChecks, request, (options) => ort.result(options)],
  'OrtEngine.resultMany': [requestChecks, request, (options) => ort.resultMany([options])],
  'OrtEngine.prepare': [prepareChecks, {}, (options) => ort.prepare('abc', options)],
  'OrtEngine.promptIds': [promptIdsChecks, {}, (options) => ort.promptIds('abc', options)],
  'Routed.submit': [requestChecks, request, (options) => read(routed.submit(options))],
  'Routed.generate': [requestChecks, request, (options) => read(routed.generate(options))],
  'Routed.generateMany': [requestChecks, request, (options) => outcomes(routed.generateMany([options]))],
  'new Routed': [routedChecks, { companions }, (options) => new Routed(engine, options)],
  'new Router': [routerChecks, {}, (options) => new Router(companions, options)],
  'new RemoteCompanion': [addressChecks, address, (options) => new RemoteCompanion(options, refusing, patience)],
  'new RemoteCompanion, patience': [
    patienceChecks,
    patience,
    (options) => new RemoteCompanion(address, refusing, options),
  ],
}

const fields = Object.entries(methods).flatMap(([name, [checks]]) =>
  Object.keys(checks).map((field): [string, string] => [name, field]),
)

/** Methods with a place for one hostile argument. */
const places: Readonly<Record<string, (value: never) => unknown>> = {
  'Engine.load, files': async (files) => (await Engine.load(files, { wasm })).close(),
  'Engine.load, options': async (options) => (await Engine.load(small(), options)).close(),
  'openModel, files': (files) => openModel(files),
  'openModel, options': (options) => openModel(small(), options),
  'Engine.submit': (value) => read(engine.submit(value)),
  'Engine.generate': (value) => read(engine.generate(value)),
  'Engine.generate, options': (options) => read(engine.generate(nearlyFull, options)),
  'Engine.generateMany': (value) => outcomes(engine.generateMany(value)),
  'Engine.generateMany, options': (options) => outcomes(engine.generateMany([], options)),
  'Engine.prepare': (value) => engine.prepare(value),
  'Engine.prepare, options': (options) => engine.prepare('a', options),
  'Engine.promptIds': (value) => engine.promptIds(value),
  'Engine.promptIds, options': (options) => engine.promptIds('a', options),
  'Engine.savePrefix': (value) => engine.savePrefix(value),
  'Engine.loadPrefix': (value) => engine.loadPrefix(value),
  'Engine.loadPrefix, options': async (options) => (await engine.loadPrefix(file, options)).release(),
  'Engine.saveChunks': (value) => engine.saveChunks(value),
  'Engine.loadChunks': (value) => engine.loadChunks(value),
  'Engine.loadChunks, options': async (options) => (await engine.loadChunks(chunks, options)).release(),
  'Engine.kvOf': (value) => read(engine.kvOf(value, kv as never)),
  'Engine.kvOf, options': (options) => read(engine.kvOf(forty, options)),
  'Engine.expectKv': (value) => engine.expectKv(value).release(),
  'Engine.expectKv, options': (options) => engine.expectKv(forty, options).release(),
  'Engine.prefill': async (value) => (await engine.prefill(value)).release(),
  'Engine.prefill, options': async (options) => (await engine.prefill(prompt, options)).release(),
  'Engine.prefillMany': async (value) => {
    for (const session of await engine.prefillMany(value)) session.release()
  },
  'Session.step': async (value) => {
    const session = await engine.prefill(prompt)
    try {
      await session.step(value)
    } finally {
      session.release()
    }
  },
  'Engine.score': (value) => engine.score(value),
  'Engine.logits': (value) => engine.logits(value),
  'Engine.tokenize': (value) => engine.tokenize(value),
  'Engine.tokenize, options': (options) => engine.tokenize('a', options),
  'Engine.tokenize, special': (special) => engine.tokenize('a', { special }),
  'ExpectedKv.receive': async (body) => {
    const expected = engine.expectKv(forty)
    try {
      await expected.receive(body, { key })
    } finally {
      expected.release()
    }
  },
  'receiveKv, body': (body) => receiveKv(body, receiving as never),
  'receiveKv, options': (options) => receiveKv(nothing(), options),
  'OrtEngine.load, files': async (files) => (await OrtEngine.load(files, { ort: runtime })).close(),
  'OrtEngine.load, options': async (options) => (await OrtEngine.load(onnx(), options)).close(),
  'OrtEngine.submit': (value) => read(ort.submit(value)),
  'OrtEngine.generate': (value) => read(ort.generate(value)),
  'OrtEngine.generate, options': (options) => read(ort.generate([1], options)),
  'OrtEngine.generateMany': (value) => outcomes(ort.generateMany(value)),
  'OrtEngine.result': (value) => ort.result(value),
  'OrtEngine.resultMany': (value) => ort.resultMany(value),
  'OrtEngine.prepare': (value) => ort.prepare(value),
  'OrtEngine.promptIds': (value) => ort.promptIds(value),
  'Routed.submit': (value) => read(routed.submit(value)),
  'Routed.generate': (value) => read(routed.generate(value)),
  'Routed.generateMany': (value) => outcomes(routed.generateMany(value)),
  'Routed.prepare': (value) => routed.prepare(value),
  'Routed.promptIds': (value) => routed.promptIds(value),
  'new Routed, engine': (value) => new Routed(value, { companions }),
  'new Routed, options': (options) => new Routed(engine, options),
  'new Router, companions': (value) => new Router(value),
  'new Router, options': (options) => new Router(companions, options),
  'new StaticCompanions': (value) => new StaticCompanions(value),
  'new RemoteCompanion, address': (value) => new RemoteCompanion(value, refusing, patience),
  'new RemoteCompanion, fetch': (value) => new RemoteCompanion(address, value, patience),
  'new RemoteCompanion, patience': (value) => new RemoteCompanion(address, refusing, value),
}

/** Two ways to hide a value. */
const few = { 'by itself': wraps['by itself']!, 'in a list': wraps['in a list']! }

/**
 * Loading an engine takes long, and its options have no lists of lists. The fields of a request are
 * checked by the same table everywhere; it gets the values in all ways in `Engine.submit`.
 */
function waysOf(name: string, checks?: object) {
  if (name.includes('oad') || name.includes('openModel')) return few
  return checks === requestChecks && name !== 'Engine.submit' ? few : wraps
}

/** The engine answers as before, and holds nothing. */
async function expectWell(): Promise<void> {
  expect((await engine.submit({ prompt, maxTokens: 2, ignoreEos: true }).result()).ids).toHaveLength(2)
  expect(engine.stats).toMatchObject({ running: 0, waiting: 0 })
  expect(engine.stats.pages_in_use).toBe(engine.stats.prefix_pages)
}

describe('a hostile value', () => {
  test.each(Object.entries(methods))('%s takes the options that are varied below', async (_, [, right, call]) => {
    // A stream of nothing is refused, but not its options.
    await Promise.resolve((async () => call(right as never))()).catch((error) => {
      expectClosed(error, false)
      expect(error.code).toBe('bad_kv')
    })
  })

  test.each(fields)('%s: the field %s', async (name, field) => {
    const [checks, right, call] = methods[name]!
    await expectCareful((value) => call({ ...right, [field]: value } as never), waysOf(name, checks))
    await expectWell()
  })

  test.each(Object.entries(places))('%s', async (name, call) => {
    await expectCareful((value) => call(value as never), waysOf(name))
    await expectWell()
  })
})
