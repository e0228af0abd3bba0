/** Every way to an answer gives the same answer; whatever breaks, no token is lost and none comes twice. */
import { afterAll, describe, expect, test } from 'vitest'
import { loadGuides } from '../../node/guides.ts'
import { loadWasm } from '../../node/wasm.ts'
import {
  type DoneEvent,
  Engine,
  type Fetch,
  type GenerateRequest,
  RemoteCompanion,
  Routed,
  StaticCompanions,
  type Way,
} from '../../src/index.ts'
import { randomPrompt } from '../helpers/answers.ts'
import { companionOf, type Fault, faulty, going, pairKey } from '../helpers/companion.ts'
import { random } from '../helpers/random.ts'
import { rounds } from '../helpers/rounds.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'

const options = { wasm: await loadWasm('auto', 1), passTokens: 64, prefixBytes: 0, guides: loadGuides }
const edge = await Engine.load(tinyFiles({ context: 512 }), { ...options, prefixBytes: 1 << 22 })
const mac = await Engine.load(tinyFiles({ context: 512 }), options)
const alone = await Engine.load(tinyFiles({ context: 512 }), options)
const fetch = companionOf(mac)
afterAll(() => Promise.all([edge.close(), mac.close(), alone.close()]))

const ways: Way[] = ['local', 'remote', 'relay', 'race']
let seed = 0
/** Returns a prompt that is in no cache. */
const fresh = (length: number) => randomPrompt(length, 1000 + seed++)

interface Told {
  readonly ids: readonly number[]
  readonly text: string
  readonly done: DoneEvent
}

async function told(answer: AsyncIterable<import('../../src/index.ts').GenerateEvent>): Promise<Told> {
  const ids: number[] = []
  let text = ''
  let done: DoneEvent | undefined
  let prompts = 0
  for await (const event of answer) {
    if (event.type === 'prompt') prompts++
    if (event.type === 'token') {
      expect(done).toBeUndefined()
      ids.push(event.id)
      text += event.text
    }
    if (event.type === 'done') done = event
  }
  expect(prompts).toBe(1)
  return { ids, text, done: done! }
}

async function same(way: Way, request: GenerateRequest, fault?: Fault, handOver = false) {
  const expected = await told(alone.submit(request))
  const { routed, reports } = going(
    way,
    edge,
    fault ? faulty(fetch, () => fault) : fetch,
    { handOver },
    {
      firstMs: fault?.kind === 'stall' ? 100 : 60_000,
      stallMs: fault?.kind === 'stall' ? 100 : 60_000,
    },
  )
  const answer = routed.submit(request)
  const got = await told(answer)
  expect(got.ids).toEqual(expected.ids)
  expect(got.text).toBe(expected.text)
  expect(got.done).toMatchObject({ ids: expected.ids, text: expected.text, finishReason: expected.done.finishReason })
  expect(edge.stats).toMatchObject({ running: 0, waiting: 0, pages_in_use: edge.stats.prefix_pages })
  return { answer, got, report: reports.at(-1)! }
}

test('an answer with a guide is made here: a companion may send K and V, but makes no tokens of it', async () => {
  const guide = { kind: 'choice', choices: ['yes', 'no', 'perhaps'] } as const
  for (const [way, taken] of [
    ['relay', 'local'],
    ['remote', 'remote'],
    ['race', 'race'],
  ] as const) {
    const { answer, got } = await same(way, { prompt: fresh(90), maxTokens: 20, guide })
    expect(answer.route.way).toBe(taken)
    expect(guide.choices).toContain(got.text)
    expect(got.done.timings.forced_tokens).toBeGreaterThan(0)
  }
})

describe.each(ways)('%s', (way) => {
  test(`${rounds(10, 50)} prompts, 64 tokens each, greedily`, async () => {
    for (let at = 0; at < rounds(10, 50); at++)
      await same(way, { prompt: fresh(33 + ((at * 37) % 300)), maxTokens: 64, ignoreEos: true })
  })

  test.each<[string, Partial<GenerateRequest>]>([
    ['drawn by a seed, with penalties', { temperature: 1, seed: 9, presencePenalty: 1, repetitionPenalty: 1.2 }],
    ['drawn by a seed of 64 bits', { temperature: 1, seed: 2n ** 63n - 1n }],
    ['with ends of its own, not before a least length', { stopTokenIds: [...Array(200).keys()], minTokens: 9 }],
    ['with log-probabilities', { topLogprobs: 3 }],
    ['to the end of the context', { prompt: randomPrompt(490, 5), maxTokens: 100 }],
    ['with a guide', { guide: { kind: 'regex', regex: '(ab|[c-f]{2}){6,9}!' }, temperature: 1, seed: 5 }],
    ['one token', { maxTokens: 1 }],
    ['none', { maxTokens: 0 }],
  ])('%s', async (_, change) => {
    await same(way, { prompt: fresh(120), maxTokens: 20, ignoreEos: true, ...change })
  })

  test('a stop string', async () => {
    const prompt = fresh(120)
    const { text } = await told(alone.submit({ prompt, maxTokens: 20, ignoreEos: true }))
    await same(way, { prompt, maxTokens: 20, ignoreEos: true, stop: [text.slice(7, 10)] })
  })

  test('a client that disconnects frees everything', async () => {
    const { routed, reports } = going(way, edge, fetch)
    for await (const event of routed.submit({ prompt: fresh(200), maxTokens: 100, ignoreEos: true }))
      if (event.type === 'token') break
    expect(reports).toHaveLength(1)
    for (let tries = 0; tries < 200 && mac.stats.running + mac.stats.waiting > 0; tries++)
      await new Promise((resolve) => setTimeout(resolve, 5))
    for (const { stats } of [edge, mac])
      expect(stats).toMatchObject({ running: 0, waiting: 0, pages_in_use: stats.prefix_pages })
  })
})

describe("a companion's faults cost nothing but time", () => {
  const rng = random(20_261_127)
  const kinds = ['cut', 'end', 'flip', 'refuse', 'redirect', 'error', 'html'] as const
  for (const way of ['remote', 'relay', 'race'] as const)
    test.each(kinds)(`${way}: %s`, async (kind) => {
      for (let round = 0; round < rounds(3, 8); round++) {
        const at = rng.below(way === 'relay' ? 1500 : 60_000)
        const { answer, report } = await same(way, { prompt: fresh(150), maxTokens: 24, ignoreEos: true }, { kind, at })
        if (way === 'remote' && kind !== 'cut' && kind !== 'end' && kind !== 'flip') {
          expect(report.ending).toBe('failed')
          expect(answer.route.fell_back).toMatch(/^(remote|bad_kv)/)
        }
      }
    })

  test.each(['remote', 'relay', 'race'] as const)('%s: silence', async (way) => {
    const { report } = await same(way, { prompt: fresh(150), maxTokens: 8, ignoreEos: true }, { kind: 'stall', at: 20 })
    if (way !== 'race') expect(report.ending).toBe('failed')
  })

  test('another model, and another key', async () => {
    const stranger = await Engine.load(tinyFiles({ context: 512, seed: 5 }), options)
    try {
      const request = { prompt: fresh(150), maxTokens: 8, ignoreEos: true }
      const expected = await told(alone.submit(request))
      for (const way of ['remote', 'relay'] as const) {
        const { routed, reports } = going(way, edge, companionOf(stranger))
        expect((await told(routed.submit({ ...request, tenant: way }))).ids).toEqual(expected.ids)
        expect(reports[0]!.ending).toBe('failed')
      }
    } finally {
      await stranger.close()
    }
  })
})

test('hand-over: a relayed answer continues locally once its K and V have arrived', async () => {
  for (let round = 0; round < rounds(2, 5); round++) {
    const { got } = await same('relay', { prompt: fresh(100), maxTokens: 200, ignoreEos: true }, undefined, true)
    expect(got.done.exact_from).toBeLessThan(200)
  }
})

test('an edge that computes meanwhile does not mistake its own work for a slow network', async () => {
  let busy = true
  // The answer lies there for as long as a prompt is read here.
  const read: Fetch = async (input, init) => {
    const response = await fetch(input, init)
    if (!busy) return response
    await edge.submit({ prompt: fresh(64), maxTokens: 1, ignoreEos: true }).result()
    await new Promise((resolve) => setTimeout(resolve, 100))
    return response
  }
  const client = new RemoteCompanion({ url: 'http://far.test', id: 'edge', key: pairKey }, read, {
    firstMs: 60_000,
    stallMs: 60_000,
  })
  const companions = new StaticCompanions([{ name: 'far', client }])
  const routed = new Routed(edge, { companions })
  const { rtt } = companions.list[0]!.costs
  const guess = rtt.value
  for (let at = 0; at < 8; at++) await routed.refresh()
  expect(rtt.value).toBe(guess)
  busy = false
  await routed.refresh()
  expect(rtt.value).not.toBe(guess)
})
