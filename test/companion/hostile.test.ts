/** A companion with the right key may say anything, at any pace: the client gets the answer that this engine makes alone, only later. */
import { afterAll, describe, expect, test } from 'vitest'
import { loadWasm } from '../../node/wasm.ts'
import {
  Engine,
  type GenerateEvent,
  type GenerateRequest,
  RemoteCompanion,
  Routed,
  StaticCompanions,
} from '../../src/index.ts'
import { randomPrompt } from '../helpers/answers.ts'
import { going, pairKey, patience } from '../helpers/companion.ts'
import { hostile, type Piece } from '../helpers/hostile.ts'
import { tinyFiles, tinyVocab } from '../helpers/tiny-model.ts'

const options = { wasm: await loadWasm('auto', 1), passTokens: 64 }
const edge = await Engine.load(tinyFiles({ context: 512 }), { ...options, prefixBytes: 1 << 22 })
const alone = await Engine.load(tinyFiles({ context: 512 }), { ...options, prefixBytes: 0 })
afterAll(() => Promise.all([edge.close(), alone.close()]))

const request: GenerateRequest = { prompt: randomPrompt(150, 71), maxTokens: 24, ignoreEos: true }
const expected = await told(alone.submit(request))
/** The tokens of the right answer, as a companion sends them. */
const right = expected.ids.map((id) => JSON.stringify({ id, logprob: -1 }))

async function told(events: AsyncIterable<GenerateEvent>) {
  const all: GenerateEvent[] = []
  for await (const event of events) all.push(event)
  const tokens = all.filter((event) => event.type === 'token')
  return { ids: tokens.map(({ id }) => id), text: tokens.map(({ text }) => text).join(''), tokens, last: all.at(-1)! }
}

/** Each request has a prefix cache of its own. */
let tenants = 0

/** Asks by a way, and checks that the answer is right and that the companion was given up for its own fault. */
async function givenUp(
  way: 'relay' | 'remote',
  pieces: () => Iterable<Piece> | AsyncIterable<Piece>,
  { predictedMs = 1e9, change = {} }: { predictedMs?: number; change?: Partial<GenerateRequest> } = {},
) {
  const far = hostile(way === 'relay' ? '/v1/relay' : '/v1/prefill', pieces)
  const { routed, reports } = going(way, edge, far.fetch, {}, patience, predictedMs)
  const answer = routed.submit({ ...request, ...change, tenant: `tenant ${++tenants}` })
  const got = await told(answer)
  expect(got.ids).toEqual(expected.ids)
  expect(got.text).toBe(expected.text)
  expect(got.last.type).toBe('done')
  expect(answer.route.fell_back).toBeDefined()
  expect(reports).toMatchObject([{ ending: 'failed' }])
  while (far.open > 0) await new Promise(setImmediate)
  expect(edge.stats).toMatchObject({ running: 0, waiting: 0, pages_in_use: edge.stats.prefix_pages })
  return { far, got, why: answer.route.fell_back! }
}

describe('a relayed answer', () => {
  test.each<[string, string]>([
    ['-1', '{"id":-1,"logprob":-1}'],
    ['1.5', '{"id":1.5,"logprob":-1}'],
    ['1e9', '{"id":1e9,"logprob":-1}'],
    ['the first id behind the vocabulary', `{"id":${tinyVocab},"logprob":-1}`],
    ['NaN, as JSON has it', '{"id":null,"logprob":-1}'],
    ['a text', '{"id":"7","logprob":-1}'],
    ['none', '{"logprob":-1}'],
    ['a probability above 1', '{"id":7,"logprob":5}'],
    ['an infinite probability', '{"id":7,"logprob":1e999}'],
    ['no probability', '{"id":7}'],
    ['a probability in words', '{"id":7,"logprob":"-1"}'],
    ['likeliest tokens that nobody asked for', '{"id":7,"logprob":-1,"topLogprobs":[{"id":7,"logprob":-1}]}'],
    ['nothing', ''],
    ['an empty object', '{}'],
    ['a list', '[7]'],
    ['an end that is none', '{"done":false}'],
    ['an early end', '{"done":true}'],
    ['no JSON', 'token 7'],
  ])('with %s as its next token continues locally', async (_, line) => {
    for (const before of [0, 3]) {
      const { got } = await givenUp('relay', () => [...right.slice(0, before), line, ...right.slice(before)])
      // Valid tokens before the failure were shown as they came.
      expect(got.tokens.slice(0, before).map(({ logprob }) => logprob)).toEqual(Array(before).fill(-1))
    }
  })

  const likeliest = (ids: readonly unknown[]) =>
    JSON.stringify({ id: expected.ids[0], logprob: -1, topLogprobs: ids.map((id) => ({ id, logprob: -1 })) })
  test.each<[string, string]>([
    ['outside the vocabulary', likeliest([tinyVocab, 7])],
    ['absurd', likeliest([7, -1])],
    ['more than were asked for', likeliest([7, 8, 9])],
    ['missing', right[0]!],
    ['no list', `{"id":7,"logprob":-1,"topLogprobs":7}`],
  ])('with top tokens that are %s continues locally', async (_, line) => {
    const { got } = await givenUp('relay', () => [line], { change: { topLogprobs: 2 } })
    for (const { topLogprobs } of got.tokens) {
      expect(topLogprobs).toHaveLength(2)
      for (const { id } of topLogprobs!) expect(id).toBeLessThan(tinyVocab)
    }
  })

  test('with a line that is too long, or without an end, continues locally after little of it was read', async () => {
    const large = new Uint8Array(1 << 20).fill(97)
    const { far } = await givenUp('relay', function* () {
      for (;;) yield large
    })
    expect(far.sent).toBeLessThan(5)
    const many = await givenUp('relay', () => [`{"id":7,"logprob":-1,"more":"${'x'.repeat(1 << 17)}"}`])
    expect(many.why).toContain('bytes')
  })

  test('with endless blank lines continues locally', async () => {
    const { far } = await givenUp('relay', function* () {
      for (;;) yield Uint8Array.of(10)
    })
    expect(far.sent).toBeLessThan(3000)
  })

  test('that never ends is cut at its maximum length', async () => {
    const far = hostile('/v1/relay', function* () {
      yield* right
      for (;;) yield '{"id":7,"logprob":-1}'
    })
    const { routed, reports } = going('relay', edge, far.fetch)
    expect((await told(routed.submit(request))).ids).toEqual(expected.ids)
    expect(reports).toMatchObject([{ ending: 'succeeded' }])
    while (far.open > 0) await new Promise(setImmediate)
    expect(far.sent).toBeLessThan(3000)
  })

  test.each([0, 1, 5])(
    'that stalls after %d timely tokens is abandoned, and is not awaited to its end',
    async (fast) => {
      const { far, why } = await givenUp(
        'relay',
        function* () {
          for (const [at, line] of right.entries()) {
            if (at >= fast) yield 600
            yield line
          }
        },
        { predictedMs: 1 },
      )
      expect(why).toContain('too long')
      expect(far.sent).toBeLessThan(right.length + 10)
    },
  )

  test('whose bytes trickle is abandoned before a line is complete', async () => {
    const { why } = await givenUp(
      'relay',
      function* () {
        for (;;) {
          yield 100
          yield Uint8Array.of(97)
        }
      },
      { predictedMs: 1 },
    )
    expect(why).toContain('too long')
  })

  test('at the expected pace is not abandoned', async () => {
    const far = hostile('/v1/relay', function* () {
      for (const line of right) {
        yield 20
        yield line
      }
    })
    const { routed, reports } = going('relay', edge, far.fetch, {}, patience, 1000)
    expect((await told(routed.submit(request))).ids).toEqual(expected.ids)
    expect(reports).toMatchObject([{ ending: 'succeeded' }])
  })
})

describe('K and V', () => {
  test.each<[string, () => Iterable<Piece>]>([
    [
      'that drip',
      function* () {
        for (;;) {
          yield 50
          yield new Uint8Array(1)
        }
      },
    ],
    [
      'in empty pieces without end',
      function* () {
        for (;;) {
          yield 1
          yield new Uint8Array(0)
        }
      },
    ],
    [
      'that are something else without end',
      function* () {
        for (;;) yield new Uint8Array(1 << 20).fill(70)
      },
    ],
    ['that are nothing', () => []],
    ['that are lines', () => right],
  ])('%s are abandoned, and the prompt is read locally', async (_, pieces) => {
    const { far } = await givenUp('remote', pieces, { predictedMs: 1 })
    expect(far.sent).toBeLessThan(5000)
  })
})

describe('a status', () => {
  const sane = { model: edge.identity, build: 'x', running: 0, waiting: 0, codecs: ['f16'] }
  const bytes = (value: unknown) => new TextEncoder().encode(typeof value === 'string' ? value : JSON.stringify(value))

  async function asked(pieces: () => Iterable<Piece>) {
    const far = hostile('/v1/status', pieces)
    const client = new RemoteCompanion({ url: 'http://far.test', id: 'edge', key: pairKey }, far.fetch, patience)
    const companions = new StaticCompanions([{ name: 'far', client }])
    const routed = new Routed(edge, { companions })
    await routed.refresh()
    return { far, companion: companions.list[0]! }
  }

  test('that is valid enables the route', async () => {
    const { companion } = await asked(() => [bytes(sane)])
    expect(companion.breaker.state(performance.now())).toBe('closed')
  })

  test.each<[string, () => Iterable<Piece>]>([
    ['with a negative count', () => [bytes({ ...sane, running: -1 })]],
    ['with half a request', () => [bytes({ ...sane, waiting: 1.5 })]],
    ['with more requests than there can be', () => [bytes({ ...sane, waiting: 1e300 })]],
    ['with words for numbers', () => [bytes({ ...sane, running: '1' })]],
    ['of another model', () => [bytes({ ...sane, model: '0'.repeat(64) })]],
    ['that is a list', () => [bytes([])]],
    ['that is null', () => [bytes('null')]],
    ['that is no JSON', () => [bytes('{')]],
    ['that is empty', () => []],
    [
      'without end',
      function* () {
        for (;;) yield bytes(' '.repeat(1 << 16))
      },
    ],
    [
      'that drips',
      function* () {
        for (;;) {
          yield 100
          yield bytes(' ')
        }
      },
    ],
  ])('%s disables it, and has no other effect', async (_, pieces) => {
    const { far, companion } = await asked(pieces)
    expect(companion.breaker.state(performance.now())).toBe('open')
    expect(far.sent).toBeLessThan(1000)
    const { mean, doubt } = companion.costs.estimate(
      'relay',
      { tokens: 100, bytesPerToken: 100, localMsPerToken: 1 },
      performance.now(),
    )
    expect([mean, doubt].every(Number.isFinite)).toBe(true)
  })

  test.each([
    ['a negative speed', -1],
    ['no speed at all', 0],
    ['an infinite one', 1e300],
    ['words', 'fast'],
  ])('with %s does not update the estimates', async (_, ms) => {
    const { companion } = await asked(() => [bytes({ ...sane, prefill_ms_per_token: ms })])
    expect(companion.costs.perToken.count).toBe(0)
  })
})
