/**
 * Functions that callers hand in: each throws at once, or is async and rejects. Both fail the same work in the same way, once, and nothing of it ends
 * the process.
 */
import { accessSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createApp } from '../../edge/index.ts'
import { download } from '../../node/download.ts'
import { loadWasm, pullModel, withLock } from '../../node/index.ts'
import { prepare } from '../../node/prepare.ts'
import { removeModel, saveModel } from '../../node/store.ts'
import { Callback, callAside } from '../../src/base/callback.ts'
import { Engine, ForetokenError, Lifetime, OrtEngine } from '../../src/index.ts'
import { memoryFiles } from '../../src/model/source.ts'
import { fakeOrt } from '../helpers/fake-ort.ts'
import { fileServer } from '../helpers/file-server.ts'
import { tinyFiles, tinyGguf } from '../helpers/tiny-model.ts'

const wasm = await loadWasm('auto', 1)
const engine = await Engine.load(tinyFiles({ context: 512 }), { wasm, passTokens: 16 })
const folder = mkdtempSync(join(tmpdir(), 'foretoken-callbacks-'))
process.env.FORETOKEN_HOME = folder
process.env.HF_HUB_CACHE = join(folder, 'hub')
afterAll(async () => {
  await engine.close()
  rmSync(folder, { recursive: true, force: true })
})

const unhandled: unknown[] = []
const note = (error: unknown) => unhandled.push(error)
beforeEach(() => void process.on('unhandledRejection', note))
afterEach(async () => {
  // Node reports them after the microtasks.
  await new Promise((resolve) => setTimeout(resolve, 5))
  process.off('unhandledRejection', note)
  expect(unhandled.splice(0)).toEqual([])
})

const mine = new Error('out of its own code')
type Fails = (...args: unknown[]) => undefined
/** Handed in where only `void` is allowed, as a caller does. */
const ways: [string, Fails][] = [
  [
    'throws',
    () => {
      throw mine
    },
  ],
  ['rejects', (async () => Promise.reject(mine)) as unknown as Fails],
  [
    'rejects by a thenable of its own',
    // biome-ignore lint/suspicious/noThenProperty: this is one
    (() => ({ then: (_: unknown, no: (error: Error) => void) => no(mine) })) as unknown as Fails,
  ],
]
const prompt = Array.from({ length: 40 }, (_, at) => at + 1)
const failing = (work: Promise<unknown>, name: string) =>
  expect(work).rejects.toMatchObject({
    name: 'ForetokenError',
    code: 'bad_argument',
    message: `${name} failed: ${mine.message}`,
    cause: mine,
  })

describe.each(ways)('a function that %s', (_, fails) => {
  test('fails the request whose `onPrefill` it is, and no other', async () => {
    const other = engine.submit({ prompt, maxTokens: 4 }).result()
    for (const maxTokens of [0, 1, 4])
      await failing(engine.submit({ prompt, maxTokens, onPrefill: fails }).result(), 'onPrefill')
    await expect(other).resolves.toMatchObject({ type: 'done' })
    expect(engine.stats).toMatchObject({ running: 0, waiting: 0 })
  })

  test('fails `generate`, `generateMany` and `prefill`', async () => {
    await failing(listed(engine.generate(prompt, { onPrefill: fails })), 'onPrefill')
    const [outcome] = await listed(engine.generateMany([{ prompt, maxTokens: 1, onPrefill: fails }]))
    expect(outcome!.error).toMatchObject({ code: 'bad_argument', cause: mine })
    await failing(engine.prefill(prompt, { onPrefill: fails }), 'onPrefill')
    expect(engine.stats.pages_in_use).toBe(engine.stats.prefix_pages)
  })

  test('fails an ONNX engine’s request', async () => {
    const own = await ort()
    await failing(own.result({ prompt, maxTokens: 4, onPrefill: fails }), 'onPrefill')
    await failing(
      own.resultMany([
        { prompt, maxTokens: 4 },
        { prompt, maxTokens: 4, onPrefill: fails },
      ]),
      'onPrefill',
    )
    await expect(own.result({ prompt, maxTokens: 1 })).resolves.toMatchObject({ type: 'done' })
    await own.close()
  })

  test('fails loading', async () => {
    await failing(Engine.load(tinyFiles(), { wasm, onProgress: fails }), 'onProgress')
  })

  test('fails sending and receiving K and V', async () => {
    const key = new Uint8Array(32)
    await failing(listed(engine.kvOf(prompt, { codec: 'f32', key, onTimings: fails })), 'onTimings')
    const other = await Engine.load(tinyFiles({ context: 512 }), { wasm })
    const expected = other.expectKv(prompt)
    const { from, to } = expected
    await failing(
      expected.receive(engine.kvOf(prompt, { codec: 'f32', key, from, to }), { key, onBlock: fails }),
      'onBlock',
    )
    expected.release()
    expect(other.stats.pages_in_use).toBe(0)
    await other.close()
  })

  test('fails a download, once, and what has arrived is kept', async () => {
    const server = await fileServer([new Uint8Array(200_000).fill(1)])
    const target = join(folder, crypto.randomUUID())
    await failing(download({ url: server.url, target, onProgress: fails, backoffMs: 1 }), 'onProgress')
    expect(server.versions).toHaveLength(1)
    await download({ url: server.url, target })
    await server.close()
  })

  test('fails a pull', async () => {
    const server = await fileServer([tinyGguf()])
    await failing(pullModel(server.url, { onProgress: fails }), 'onProgress')
    await server.close()
  })

  test('fails waiting for a lock', async () => {
    const path = join(folder, crypto.randomUUID())
    let free = () => {}
    const held = withLock(path, () => new Promise<void>((resolve) => (free = resolve)))
    await vi.waitFor(() => accessSync(path))
    await failing(
      withLock(path, async () => {}, { onWait: fails }),
      'onWait',
    )
    free()
    await held
  })

  test('fails preparing a deployment, of which nothing is left', async () => {
    const into = join(folder, crypto.randomUUID())
    await failing(prepare(tinyFiles(), into, { context: 64, onProgress: fails }), 'onProgress')
    expect(existsSync(into)).toBe(false)
  })

  test('fails removing a model after the removal', async () => {
    const path = join(folder, 'elsewhere.gguf')
    writeFileSync(path, 'x')
    const files = [{ name: 'elsewhere.gguf', path, bytes: 1, hash: `sha256:${'0'.repeat(64)}` }]
    await saveModel({ name: 'hf:a/b', source: 'x', files, pulled: new Date().toISOString() })
    await failing(removeModel('hf:a/b', fails), 'onLeft')
  })

  test('fails `promptIds`, as far as it is synchronous', () => {
    const work = () => engine.promptIds('hello', { onTemplate: fails })
    if (fails === ways[0]![1]) expect(work).toThrow(ForetokenError)
    else expect(work()).not.toHaveLength(0)
  })

  test('as a log fails no request, and is reported', async () => {
    const told = vi.spyOn(console, 'error').mockImplementation(() => {})
    const app = createApp({ engine, config: { listen: 'loopback' }, onRequest: fails })
    for (const stream of [false, true]) {
      const body = JSON.stringify({
        model: engine.archive.name,
        stream,
        max_tokens: 2,
        messages: [{ role: 'user', content: 'x' }],
      })
      const request = new Request('http://127.0.0.1/v1/chat/completions', {
        method: 'POST',
        body,
        headers: { 'content-type': 'application/json' },
      })
      const response = await app.fetch(request)
      expect(response.status).toBe(200)
      expect(await response.text()).toContain('finish_reason')
    }
    told.mockRestore()
  })

  test("as a clean-up after a lifetime's end, or as a late callback, has no effect", async () => {
    const life = new Lifetime()
    void life.end()
    life.hold(fails)
    const other = new Lifetime()
    let give = (_: number) => {}
    const waiting = other.until(new Promise<number>((resolve) => (give = resolve)), fails)
    void other.end(new Error('over'))
    await expect(waiting).rejects.toThrow('over')
    give(1)
  })
})

test('a value that is not a function is refused by name', async () => {
  for (const onPrefill of [1, 'x', {}, []])
    expect(() => engine.submit({ prompt, onPrefill: onPrefill as never })).toThrow(
      expect.objectContaining({
        code: 'bad_argument',
        message: expect.stringMatching(/^onPrefill is .+; it must be a function$/),
      }),
    )
})

test('a ForetokenError of a function is rethrown unchanged; a rejection after the end is dropped', async () => {
  const own = new ForetokenError('busy', 'not now')
  await expect(engine.submit({ prompt, onPrefill: () => Promise.reject(own) as never }).result()).rejects.toBe(own)
  let reject = (_: Error) => {}
  const late = () => new Promise((_, no) => (reject = no)) as never
  await expect(engine.submit({ prompt, maxTokens: 1, onPrefill: late }).result()).resolves.toMatchObject({
    type: 'done',
  })
  reject(mine)
})

test('a function is not called again once it has failed', () => {
  let calls = 0
  const callback = new Callback('onX', () => {
    calls++
    throw mine
  })
  for (let at = 0; at < 3; at++) expect(callback.call).toThrow('onX failed')
  expect(calls).toBe(1)
  const failures: unknown[] = []
  callAside(
    () => {
      throw mine
    },
    (error) => failures.push(error),
  )
  expect(failures).toEqual([mine])
})

async function ort(): Promise<OrtEngine> {
  return OrtEngine.load(memoryFiles('fake', { 'model.onnx': new Uint8Array(1) }), {
    ort: fakeOrt(engine).ort,
    reader: engine,
  })
}

async function listed<T>(events: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const event of events) all.push(event)
  return all
}
