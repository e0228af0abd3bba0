/**
 * Only waiting for the network counts against a companion; delays of a client or of this engine do
 * not.
 */
import { afterAll, describe, expect, test } from 'vitest'
import { createCompanion } from '../../companion/app.ts'
import { loadWasm } from '../../node/wasm.ts'
import {
  Engine,
  type Fetch,
  type GenerateRequest,
  RemoteCompanion,
  Routed,
  type RoutedAnswer,
  StaticCompanions,
  type Way,
} from '../../src/index.ts'
import { randomPrompt } from '../helpers/answers.ts'
import { companionOf, going, pairKey, patience } from '../helpers/companion.ts'
import { hostile } from '../helpers/hostile.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'

const options = { wasm: await loadWasm('auto', 1), passTokens: 64, prefixBytes: 0 }
const edge = await Engine.load(tinyFiles({ context: 512 }), { ...options, prefixBytes: 1 << 22 })
const mac = await Engine.load(tinyFiles({ context: 512 }), options)
const fetch = companionOf(mac)
afterAll(() => Promise.all([edge.close(), mac.close()]))

const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
let seed = 0
const request = (change: Partial<GenerateRequest> = {}): GenerateRequest => ({
  prompt: randomPrompt(300, 40_000 + seed++),
  maxTokens: 12,
  ignoreEos: true,
  ...change,
})

/** Reads with one pause, of `ms`, before event `at`; 0 is the prompt. */
async function paused(answer: RoutedAnswer, ms: number, at = 3): Promise<readonly number[]> {
  const ids: number[] = []
  const events = answer[Symbol.asyncIterator]()
  for (let count = 0; ; count++) {
    if (count === at) await later(ms)
    const { done, value } = await events.next()
    if (done) return ids
    if (value.type === 'token') ids.push(value.id)
  }
}

describe('a client that pauses for longer than a companion may', () => {
  test.each<[Way, boolean]>([
    ['relay', false],
    ['relay', true],
    ['remote', false],
    ['race', false],
  ])('%s, handed over: %s', async (way, handOver) => {
    const asked = request()
    const expected = (await mac.submit(asked).result()).ids
    const wait = { firstMs: 60_000, stallMs: 1500 }
    const { routed, reports } = going(way, edge, fetch, { handOver }, wait)
    const answer = routed.submit(asked)
    expect(await paused(answer, 3000)).toEqual(expected)
    expect(answer.route.fell_back).toBeUndefined()
    if (way !== 'race') expect(reports).toMatchObject([{ ending: 'succeeded' }])
  })

  test('makes no route look slow: its pauses are not in the measured time to the first token', async () => {
    for (const way of ['local', 'relay', 'remote'] as const)
      for (const at of [0, 1]) {
        const { routed, reports } = going(way, edge, fetch)
        const begun = performance.now()
        const answer = routed.submit(request())
        await paused(answer, 1000, at)
        expect(reports[0]!.ttftMs).toBeGreaterThan(0)
        expect(reports[0]!.ttftMs).toBeLessThan(performance.now() - begun - 990)
        expect(answer.route.actual_ms).toBe(reports[0]!.ttftMs)
      }
  })

  test('lets others try a companion that had failed, as soon as it answers', async () => {
    const client = new RemoteCompanion({ url: 'http://far.test', id: 'edge', key: pairKey }, fetch, patience)
    const companions = new StaticCompanions([{ name: 'far', client }])
    const { breaker } = companions.list[0]!
    const routed = new Routed(edge, { companions, always: 'relay' })
    await routed.refresh()
    // It runs twice, to distinguish a success from a finished trial.
    for (let at = 0; at < 2; at++) breaker.failed(performance.now() - 100_000)
    const first = routed.submit(request())
    const events = first[Symbol.asyncIterator]()
    await events.next()
    expect(routed.submit(request()).route.way).toBe('local')
    await events.next()
    expect(breaker.state(performance.now())).toBe('half-open')
    const second = routed.submit(request())
    expect(second.route.way).toBe('relay')
    await paused(second, 0)
    expect(breaker.state(performance.now())).toBe('closed')
    await events.return?.(undefined)
  })

  test('holds no turn there: the companion finishes long before', async () => {
    const { routed } = going('relay', edge, fetch)
    const events = routed.submit(request({ maxTokens: 60 }))[Symbol.asyncIterator]()
    for (let at = 0; at < 3; at++) await events.next()
    while (mac.stats.running > 0) await later(5)
    let count = 0
    while (!(await events.next()).done) count++
    expect(count).toBe(59)
  })

  test("for so long that the companion gives up is not counted as the companion's failure", async () => {
    // More than may lie in the queue, from a companion that waits for a second.
    const app = createCompanion({
      engine: mac,
      edges: [{ id: 'edge', key: pairKey }],
      limits: { stallSeconds: 1 },
    })
    const own: Fetch = (input, init) =>
      Promise.resolve(app.fetch(new Request(input, { ...init, ...(init.body && { duplex: 'half' }) } as RequestInit)))
    const asked = request({ prompt: randomPrompt(60, 3), maxTokens: 400, topLogprobs: 60 })
    const expected = (await mac.submit(asked).result()).ids
    const { routed, reports } = going('relay', edge, own)
    const answer = routed.submit(asked)
    expect(await paused(answer, 6000)).toEqual(expected)
    expect(answer.route.fell_back).toMatch(/^remote/)
    expect(reports).toMatchObject([{ ending: 'left' }])
  })
})

describe('an engine that is busy processing received data', () => {
  const prompt = () => ({ ids: randomPrompt(300, 50_000 + seed++), model: mac.identity, tenant: '' })

  test('does not abandon a companion that waits for it', async () => {
    const client = new RemoteCompanion({ url: 'http://far.test', id: 'edge', key: pairKey }, fetch, {
      firstMs: 60_000,
      stallMs: 1500,
    })
    const { signal } = new AbortController()
    const kv = await client.kv({ ...prompt(), signal, codec: 'f32', from: 0, to: 288 })
    let bytes = 0
    for await (const piece of kv.body) {
      if (bytes === 0) await later(4000)
      bytes += piece.length
    }
    expect(bytes).toBeGreaterThan(300_000)
    // It was never waited for, so that this tells nothing of the network.
    expect(kv.arrived()).toBeUndefined()
  })

  test('does not charge the companion for its own lack of room', async () => {
    const small = await Engine.load(tinyFiles({ context: 512 }), { ...options, kvTokens: 512 })
    try {
      const held = await small.prefill(randomPrompt(400, 1))
      const { routed, reports } = going('remote', small, fetch)
      const answer = routed.submit(request())
      const reading = paused(answer, 0)
      await expect(reading).rejects.toMatchObject({ code: 'out_of_pages' })
      expect(answer.route.fell_back).toMatch(/^out_of_pages/)
      expect(reports).toMatchObject([{ ending: 'left' }])
      held.release()
    } finally {
      await small.close()
    }
  })
})

test('a request that a companion cannot accept is not counted as its failure, and others still go there', async () => {
  for (const status of [400, 413, 401, 429, 500]) {
    const refusing: Fetch = async () => new Response(null, { status })
    const { routed, reports } = going('relay', edge, refusing)
    const answer = routed.submit(request())
    await paused(answer, 0)
    expect(answer.route.fell_back).toContain(String(status))
    expect(reports).toMatchObject([{ ending: status === 400 || status === 413 ? 'left' : 'failed' }])
  }
})

test('a companion that is silent while a client waits is abandoned, whatever the client did before', async () => {
  const asked = request()
  const { ids } = await mac.submit(asked).result()
  const lines = ids.map((id) => JSON.stringify({ id, logprob: -1 }))
  const far = hostile('/v1/relay', function* () {
    yield* lines.slice(0, 4)
    yield 120_000
  })
  const { routed, reports } = going('relay', edge, far.fetch, {}, { firstMs: 60_000, stallMs: 300 })
  const answer = routed.submit(asked)
  expect(await paused(answer, 100)).toEqual(ids)
  expect(answer.route.fell_back).toContain('nothing came within 300 ms')
  expect(reports).toMatchObject([{ ending: 'failed' }])
})
