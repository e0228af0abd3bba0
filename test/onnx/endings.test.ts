/** An ONNX request gives back its place and its K and V however it ends, whether or not anybody reads it. */
import { getEventListeners } from 'node:events'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { Engine, type GenerateRequest, OrtEngine } from '../../src/index.ts'
import { memoryFiles } from '../../src/model/source.ts'
import { type FakeOrt, fakeOrt } from '../helpers/fake-ort.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'

const core = await Engine.load(tinyFiles({ context: 512 }), { wasm: await loadWasm('auto', 1), prefixBytes: 0 })
afterAll(() => core.close())

let fake: FakeOrt
let engine: OrtEngine
beforeEach(async () => {
  fake = fakeOrt(core)
  const files = memoryFiles('fake', { 'model.onnx': new Uint8Array(1) })
  engine = await OrtEngine.load(files, { ort: fake.ort, reader: core, maxRunning: 2, maxWaiting: 2 })
  return () => engine.close()
})

const request = (change: Partial<GenerateRequest> = {}): GenerateRequest => ({
  prompt: [1, 2, 3, 4, 5],
  maxTokens: 20,
  ignoreEos: true,
  ...change,
})

/** Checks that everything is released at once, except during a step. */
async function idle(signal?: AbortSignal): Promise<void> {
  while (engine.stats.running + engine.stats.waiting + fake.live > 0) await new Promise(setImmediate)
  expect(engine.stats).toMatchObject({ running: 0, waiting: 0 })
  if (signal) expect(getEventListeners(signal, 'abort')).toEqual([])
  // The slot is available to another request.
  expect((await engine.result(request({ maxTokens: 2 }))).ids).toEqual([7, 7])
}

async function read(events: AsyncIterator<{ readonly type: string }>, count: number): Promise<void> {
  for (let at = 0; at < count; at++) await events.next()
}

describe('a submission', () => {
  // After 0 events it is unread; after 1 the prompt is read; after 3 there are two tokens.
  const taken = [0, 1, 3]
  test.each(taken)('that is aborted after %d events, and never read on', async (count) => {
    const control = new AbortController()
    const answers = [1, 2].map(() => engine.submit(request({ signal: control.signal })))
    for (const answer of answers) await read(answer[Symbol.asyncIterator](), count)
    const waiting = [engine.submit(request({ signal: control.signal })), engine.submit(request())]
    expect(() => engine.submit(request())).toThrow(expect.objectContaining({ code: 'busy' }))
    control.abort()
    waiting[1]!.cancel()
    await idle(control.signal)
  })

  test.each(taken)('that is cancelled after %d events', async (count) => {
    const answer = engine.submit(request())
    const events = answer[Symbol.asyncIterator]()
    await read(events, count)
    answer.cancel()
    answer.cancel()
    await idle()
    await expect(events.next()).rejects.toMatchObject({ code: 'aborted' })
  })

  test.each(taken)('that is left after %d events', async (count) => {
    const events = engine.submit(request())[Symbol.asyncIterator]()
    await read(events, Math.max(1, count))
    await events.return?.(undefined)
    await idle()
  })

  test('that was aborted before submission', async () => {
    const control = new AbortController()
    control.abort()
    const answer = engine.submit(request({ signal: control.signal }))
    await expect(read(answer[Symbol.asyncIterator](), 1)).rejects.toMatchObject({ code: 'aborted' })
    await idle(control.signal)
  })

  test('that is aborted in the middle of a step releases its slot after the step', async () => {
    const control = new AbortController()
    const step = Promise.withResolvers<void>()
    fake.onStep = (number) => (number === 2 ? step.promise : undefined)
    const events = engine.submit(request({ signal: control.signal }))[Symbol.asyncIterator]()
    await read(events, 3)
    const next = events.next()
    next.catch(() => {})
    while (fake.steps < 3) await new Promise(setImmediate)
    control.abort()
    await new Promise(setImmediate)
    // Its K and V are in use.
    expect(engine.stats.running).toBe(1)
    step.resolve()
    await expect(next).rejects.toMatchObject({ code: 'aborted' })
    await idle(control.signal)
  })

  test('that is aborted while others use the session runs no further step', async () => {
    const step = Promise.withResolvers<void>()
    fake.onStep = (number) => (number === 0 ? step.promise : undefined)
    const control = new AbortController()
    const first = engine.result(request({ maxTokens: 1 }))
    const second = engine.result(request({ signal: control.signal }))
    second.catch(() => {})
    while (fake.steps < 1) await new Promise(setImmediate)
    control.abort()
    await expect(second).rejects.toMatchObject({ code: 'aborted' })
    step.resolve()
    await first
    expect(fake.steps).toBe(1)
    await idle(control.signal)
  })

  test('whose step fails, and whose callback throws', async () => {
    fake.onStep = (number) => {
      if (number === 2) throw new Error('out of memory')
    }
    await expect(engine.result(request())).rejects.toMatchObject({ code: 'internal' })
    for (const at of [0, 1]) {
      let calls = 0
      const onPrefill = () => {
        if (calls++ === at) throw new Error('no')
      }
      await engine.result(request({ onPrefill })).catch(() => {})
    }
    await idle()
  })

  test('that is read to its last event, and not beyond', async () => {
    const events = engine.submit(request({ maxTokens: 2 }))[Symbol.asyncIterator]()
    await read(events, 4)
    expect([engine.stats.running, fake.live]).toEqual([0, 0])
    await idle()
  })

  test('whose engine is closed', async () => {
    const read1 = engine.submit(request())
    const events = read1[Symbol.asyncIterator]()
    await read(events, 3)
    engine.submit(request())
    const waits = engine.submit(request())
    await engine.close()
    expect([engine.stats.running, engine.stats.waiting, fake.live]).toEqual([0, 0, 0])
    await expect(events.next()).rejects.toMatchObject({ code: 'aborted' })
    await expect(read(waits[Symbol.asyncIterator](), 1)).rejects.toMatchObject({ code: 'aborted' })
  })
})

describe('an answer that was complete before', () => {
  const whole = { maxTokens: 2, after: [7, 7] }

  test('is reported once, and nothing is read for it', async () => {
    const types: string[] = []
    for await (const { type } of engine.submit(request(whole))) types.push(type)
    expect(types).toEqual(['prompt', 'done'])
    expect((await engine.result(request(whole))).ids).toEqual([7, 7])
    const results = await engine.resultMany([request(whole), request({ maxTokens: 3 }), request(whole)])
    expect(results.map(({ ids }) => ids)).toEqual([
      [7, 7],
      [7, 7, 7],
      [7, 7],
    ])
    expect(await engine.resultMany([request(whole)])).toHaveLength(1)
    expect(fake.steps).toBe(3)
    await idle()
  })
})

describe('many at once', () => {
  const many = (change: (at: number) => Partial<GenerateRequest> = () => ({})) =>
    [0, 1, 2, 3].map((at) => request({ maxTokens: 4, ...change(at) }))

  test('give one result each, in one packed step and three for each', async () => {
    expect((await engine.resultMany(many())).map(({ ids }) => ids)).toEqual(Array(4).fill([7, 7, 7, 7]))
    expect(fake.steps).toBe(1 + 4 * 3)
    await idle()
  })

  test.each([0, 1, 2, 3])(
    'reject where number %d is aborted, before, while they wait, packed and one by one',
    async (which) => {
      // Steps: 0 is the packed one; each answer takes three more.
      for (const when of [-2, -1, 0, 1, 5, 11]) {
        const control = new AbortController()
        const first = fake.steps
        fake.onStep = (number) => {
          if (number === first + when) control.abort()
        }
        const held = when === -1 ? [1, 2].map(() => engine.submit(request())) : []
        if (when === -2) control.abort()
        const results = engine.resultMany(many((at) => (at === which ? { signal: control.signal } : {})))
        results.catch(() => {})
        if (when === -1) control.abort()
        await expect(results).rejects.toMatchObject({ code: 'aborted' })
        fake.onStep = () => {}
        for (const answer of held) answer.cancel()
        await idle(control.signal)
      }
    },
  )

  test('reject where a step or a callback fails, at any point', async () => {
    for (const fails of [0, 1, 6, 12]) {
      const first = fake.steps
      fake.onStep = (number) => {
        if (number === first + fails) throw new Error('no')
      }
      await expect(engine.resultMany(many())).rejects.toMatchObject({ code: 'internal' })
      fake.onStep = () => {}
      await idle()
    }
  })

  test('reject as busy where there is no room to wait, and hold nothing', async () => {
    const held = Array.from({ length: 4 }, () => engine.submit(request()))
    await expect(engine.resultMany(many())).rejects.toMatchObject({ code: 'busy' })
    for (const answer of held) answer.cancel()
    await idle()
  })

  test('end with the engine', async () => {
    const step = Promise.withResolvers<void>()
    fake.onStep = (number) => (number === 3 ? step.promise : undefined)
    const results = engine.resultMany(many())
    results.catch(() => {})
    while (fake.steps < 4) await new Promise(setImmediate)
    const closing = engine.close()
    step.resolve()
    await closing
    await expect(results).rejects.toMatchObject({ code: 'aborted' })
    expect([engine.stats.running, fake.live]).toEqual([0, 0])
  })
})
