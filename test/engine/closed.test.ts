/** Objects with a `close` or `release` report a use after it, and leave nothing behind. */
import { describe, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { Engine, type Fetch, OrtEngine, RemoteCompanion, Routed, StaticCompanions } from '../../src/index.ts'
import { memoryFiles } from '../../src/model/source.ts'
import { TokenizerWorker } from '../../src/tokens/tokenizer-worker.ts'
import { fakeOrt } from '../helpers/fake-ort.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'

const wasm = await loadWasm('auto', 1)
const load = () => Engine.load(tinyFiles({ context: 256 }), { wasm })
const ids = Array.from({ length: 40 }, (_, at) => at + 1)
const key = new Uint8Array(32)
const closed = { name: 'ForetokenError', code: 'aborted', message: 'the engine was closed' }
const read = async (events: AsyncIterable<unknown>) => {
  for await (const _ of events);
}

test('a released session and a session of a closed engine report different errors', async () => {
  const engine = await load()
  const [released, open] = [await engine.prefill(ids), await engine.prefill(ids)]
  released.release()
  released.release()
  await expect(released.step(1)).rejects.toMatchObject({
    code: 'aborted',
    message: expect.stringContaining('session was released'),
  })
  const stepping = open.step(1)
  const settled = stepping.catch((error: unknown) => error)
  await engine.close()
  const error = await settled
  if (error instanceof Error) expect(error).toMatchObject(closed)
  await expect(open.step(1)).rejects.toMatchObject(closed)
  await expect(released.step(1)).rejects.toMatchObject(closed)
  open.release()
})

describe('a closed engine', async () => {
  const engine = await load()
  const file = await engine.savePrefix(String.fromCharCode(...ids.map((id) => 64 + id)))
  const loaded = await engine.loadPrefix(file)
  const expected = engine.expectKv(ids)
  const waiting = engine.submit({ prompt: ids, maxTokens: 100 })
  const stream = engine.kvOf(ids, { codec: 'f32', key })
  await engine.close()

  test.each<[string, () => unknown]>([
    ['generate', () => read(engine.generate(ids))],
    ['submit', () => engine.submit({ prompt: ids })],
    [
      'generateMany',
      async () => {
        for await (const { error } of engine.generateMany([{ prompt: ids }])) throw error
      },
    ],
    ['prefill', () => engine.prefill(ids)],
    ['prefillMany', () => engine.prefillMany([ids])],
    ['score', () => engine.score(ids)],
    ['logits', () => engine.logits(ids)],
    ['saveChunks', () => engine.saveChunks(['x'.repeat(100)])],
    ['loadChunks', () => engine.loadChunks(new Uint8Array(64))],
    ['savePrefix', () => engine.savePrefix('x'.repeat(100))],
    ['loadPrefix', () => engine.loadPrefix(file)],
    ['keepChunks', () => engine.keepChunks()],
    ['kvOf', () => read(engine.kvOf(ids, { codec: 'f32', key }))],
    ['a stream of K and V that nobody had read', () => read(stream)],
    ['expectKv', () => engine.expectKv(ids)],
    ['what it expected', () => expected.receive(read as never, { key })],
    ['a submission that nobody had read', () => waiting.result()],
    ['prepare of a long text', () => engine.prepare('word '.repeat(5000), { raw: true })],
    ['workbench.cacheOf', () => engine.workbench.cacheOf(ids, 'exact')],
    [
      'a routed request',
      () => read(new Routed(engine, { companions: new StaticCompanions([]) }).submit({ prompt: ids })),
    ],
  ])('reports that it is closed: %s', async (name, call) => {
    const failing = (async () => call())()
    if (name === 'what it expected') await expect(failing).rejects.toMatchObject({ name: 'ForetokenError' })
    else await expect(failing).rejects.toMatchObject(closed)
  })

  test('may be closed again, and its objects may be released', async () => {
    await engine.close()
    loaded.release()
    loaded.release()
    expected.release()
    waiting.cancel()
  })

  test('still tokenizes short texts, which needs no engine memory', async () => {
    expect(engine.tokenize('abc')).not.toHaveLength(0)
    expect(engine.promptIds('abc')).not.toHaveLength(0)
  })
})

test('a closed ONNX engine', async () => {
  const core = await load()
  const files = memoryFiles('fake', { 'model.onnx': new Uint8Array(1) })
  const ort = await OrtEngine.load(files, { ort: fakeOrt(core).ort, reader: core })
  const waiting = ort.submit({ prompt: ids })
  await ort.close()
  await ort.close()
  for (const call of [
    () => read(ort.submit({ prompt: ids })),
    () => read(ort.generate({ prompt: ids })),
    () => ort.result({ prompt: ids }),
    () => ort.resultMany([{ prompt: ids }]),
    () => read(waiting),
  ])
    await expect((async () => call())()).rejects.toMatchObject(closed)
  await core.close()
})

test('a closed text service', async () => {
  const service = new TokenizerWorker({ spawn: () => ({ post() {}, terminate() {} }), spec: {} as never, context: 10 })
  const reading = service.read('x', {}, undefined)
  service.close()
  await expect(reading).rejects.toMatchObject(closed)
  await expect(service.read('x', {}, undefined)).rejects.toMatchObject(closed)
  service.close()
})

test("a companion's client has nothing to close: a call ends with its signal", async () => {
  const hanging: Fetch = () => new Promise(() => {})
  const client = new RemoteCompanion({ url: 'http://mac.test', id: 'edge', key }, hanging, {
    firstMs: 60_000,
    stallMs: 60_000,
  })
  const control = new AbortController()
  const asking = client.status(control.signal)
  control.abort()
  await expect(asking).rejects.toMatchObject({ code: 'aborted' })
})
