/**
 * Streams of K and V hold pages of both engines. An abort alone returns them, and never while they
 * are written.
 */
import { getEventListeners } from 'node:events'
import { afterAll, describe, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import { Engine, memorySource } from '../../src/index.ts'
import { writePredictor } from '../../src/predict/file.ts'
import { randomPrompt } from '../helpers/answers.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'
import { tinyPredictor } from '../helpers/tiny-predictor.ts'

const files = () => tinyFiles({ layers: 7, context: 512 })
const wasm = await loadWasm('auto', 1)
const plain = await Engine.load(files(), { wasm })
const predictor = memorySource('tiny', await writePredictor(tinyPredictor(plain.identity)))
const load = () => Engine.load(files(), { wasm, predictor, passTokens: 64, prefixBytes: 0 })
const [from, to] = [await load(), await load()]
afterAll(() => Promise.all([plain.close(), from.close(), to.close()]))

const key = new Uint8Array(32).fill(1)
let seed = 0
const prompt = () => randomPrompt(300, 80_000 + seed++)

async function free(engine: Engine): Promise<void> {
  const held = ({ running, waiting, pages_in_use, prefix_pages }: Engine['stats']) =>
    running + waiting + pages_in_use - prefix_pages
  while (held(engine.stats) > 0) await new Promise((resolve) => setTimeout(resolve, 2))
}

describe.each(['f16', 'residual'] as const)('sending %s', (codec) => {
  test.each([0, 1, 2, 4])('ends on an abort after %d pieces, though nothing reads on', async (pieces) => {
    const control = new AbortController()
    const stream = from.kvOf(prompt(), { codec, key, signal: control.signal })
    for (let at = 0; at < pieces; at++) await stream.next()
    if (pieces > 2) expect(from.stats.pages_in_use).toBeGreaterThan(0)
    control.abort()
    await free(from)
    expect(getEventListeners(control.signal, 'abort')).toEqual([])
    if (pieces > 0) await expect(stream.next()).rejects.toMatchObject({ code: 'aborted' })
  })

  test('ends on an abort in the middle of a piece, once that is computed', async () => {
    for (let turns = 0; turns < 6; turns++) {
      const control = new AbortController()
      const stream = from.kvOf(prompt(), { codec, key, signal: control.signal })
      await stream.next()
      const next = stream.next()
      next.catch(() => {})
      for (let at = 0; at < turns; at++) await new Promise(setImmediate)
      control.abort()
      // It may have been created before.
      await next.catch((error) => expect(error).toMatchObject({ code: 'aborted' }))
      const behind = await stream.next().then(
        ({ done }) => done,
        ({ code }) => code,
      )
      expect([true, 'aborted']).toContain(behind)
      await free(from)
    }
    // Nothing was written into pages that had been reused.
    const request = { prompt: prompt(), maxTokens: 8, ignoreEos: true }
    expect((await from.submit(request).result()).ids).toEqual((await plain.submit(request).result()).ids)
  })
})

describe('receiving', () => {
  test('keeps its pages until the stream has ended, when they are released before', async () => {
    const ids = prompt()
    const expected = to.expectKv(ids)
    const stream = from.kvOf(ids, { codec: 'f16', key, from: 0, to: expected.to })
    let seen = 0
    async function* released() {
      for await (const piece of stream) {
        if (seen++ === 2) {
          expected.release()
          expected.release()
          expect(to.stats.pages_in_use).toBeGreaterThan(0)
        }
        yield piece
      }
    }
    await expected.receive(released(), { key })
    await free(to)
    expect(seen).toBeGreaterThan(3)
  })

  test('cancels a stream for which it has no pages', async () => {
    const small = await Engine.load(files(), { wasm, kvTokens: 512, prefixBytes: 0 })
    try {
      const held = await small.prefill(randomPrompt(400, 1))
      const ids = prompt()
      const expected = small.expectKv(ids)
      let closed = 0
      const body: AsyncIterable<Uint8Array> = {
        [Symbol.asyncIterator]: () => ({
          next: () => new Promise(() => {}),
          return: async () => {
            closed++
            return { done: true as const, value: undefined }
          },
        }),
      }
      await expect(expected.receive(body, { key })).rejects.toMatchObject({ code: 'out_of_pages' })
      expect(closed).toBe(1)
      expected.release()
      held.release()
      await free(small)
    } finally {
      await small.close()
    }
  })
})
