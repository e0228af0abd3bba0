/**
 * Every ending of every kind of answer gives everything back: pages, turns, a breaker's trial, timers and listeners, whether or not anybody reads on.
 */
import { getEventListeners } from 'node:events'
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest'
import { createCompanion } from '../../companion/app.ts'
import { loadWasm } from '../../node/wasm.ts'
import {
  Engine,
  type Fetch,
  type GenerateEvent,
  type GenerateRequest,
  RemoteCompanion,
  Routed,
  StaticCompanions,
  sign,
} from '../../src/index.ts'
import { randomPrompt } from '../helpers/answers.ts'
import { companionOf, pairKey, patience } from '../helpers/companion.ts'
import { countTimers, type Timers } from '../helpers/timers.ts'
import { tinyFiles } from '../helpers/tiny-model.ts'

const options = { wasm: await loadWasm('auto', 1), passTokens: 64, prefixBytes: 0 }
const edge = await Engine.load(tinyFiles({ context: 512 }), { ...options, prefixBytes: 1 << 22 })
const mac = await Engine.load(tinyFiles({ context: 512 }), options)
const overNetwork = companionOf(mac)
afterAll(() => Promise.all([edge.close(), mac.close()]))

let timers: Timers
beforeEach(() => {
  timers = countTimers()
})
afterEach(() => timers.stop())

let seed = 0
const request = (change: Partial<GenerateRequest> = {}): GenerateRequest => ({
  prompt: randomPrompt(300, 5000 + seed++),
  maxTokens: 100,
  ignoreEos: true,
  ...change,
})

interface Answer extends AsyncIterable<GenerateEvent> {
  cancel(): void
}

/** Submits requests, and checks what else must be released. */
interface Kind {
  submit(request: GenerateRequest): Answer
  check(): void
}

/** How answers come about; each with a companion that failed and may be tried once. */
async function routed(always: 'local' | 'remote' | 'relay' | 'race', handOver = false, engine = edge): Promise<Kind> {
  const client = new RemoteCompanion({ url: 'http://mac.test', id: 'edge', key: pairKey }, overNetwork, patience)
  const companions = new StaticCompanions([{ name: 'mac', client }])
  const { breaker } = companions.list[0]!
  const own = new Routed(engine, { companions, always, handOver })
  await own.refresh()
  breaker.failed(performance.now() - 10_000)
  expect(breaker.state(performance.now())).toBe('half-open')
  return {
    submit: (request) => {
      const answer = own.submit(request)
      expect(answer.route.way).toBe(always)
      if (always !== 'local' && !request.signal?.aborted) expect(breaker.state(performance.now() + 1e9)).toBe('open')
      return answer
    },
    // A trial whose end is never reported would stay open forever.
    check: () => expect(breaker.state(performance.now() + 1e9)).not.toBe('open'),
  }
}

const kinds: Readonly<Record<string, () => Promise<Kind>>> = {
  'the engine': async () => ({ submit: (request) => edge.submit(request), check: () => {} }),
  local: () => routed('local'),
  remote: () => routed('remote'),
  relay: () => routed('relay'),
  race: () => routed('race'),
  'hand-over': () => routed('relay', true),
}

/**
 * Ways to end an answer. After 0 events it is unread; after 1 the prompt is read; after 3 there are
 * two tokens.
 */
const endings: Readonly<Record<string, (kind: Kind, signal: AbortController) => Promise<unknown>>> = {
  'is read to its end': async (kind, { signal }) => {
    for await (const _ of kind.submit(request({ signal, maxTokens: 20 })));
  },
  'is read to its last event, and not beyond': async (kind, { signal }) => {
    const events = kind.submit(request({ signal, maxTokens: 20 }))[Symbol.asyncIterator]()
    while ((await events.next()).value?.type !== 'done');
  },
  fails: async (kind, { signal }) => {
    const reading = (async () => {
      for await (const _ of kind.submit(request({ signal, temperature: -1 })));
    })()
    await expect(reading).rejects.toMatchObject({ code: 'bad_argument' })
  },
  ...Object.fromEntries(
    [0, 1, 3].flatMap((taken) => {
      const begun = async (kind: Kind, { signal }: AbortController) => {
        const answer = kind.submit(request({ signal }))
        const events = answer[Symbol.asyncIterator]()
        for (let at = 0; at < taken; at++) await events.next()
        return { answer, events }
      }
      return [
        [
          `is cancelled after ${taken} events`,
          async (kind: Kind, control: AbortController) => (await begun(kind, control)).answer.cancel(),
        ],
        [
          `is left after ${taken + 1} events`,
          async (kind: Kind, control: AbortController) => {
            const { events } = await begun(kind, control)
            await events.next()
            await events.return?.(undefined)
          },
        ],
        [
          `is aborted after ${taken} events, and never read on`,
          async (kind: Kind, control: AbortController) => {
            await begun(kind, control)
            control.abort()
          },
        ],
        [
          `is aborted after ${taken} events, while somebody waits`,
          async (kind: Kind, control: AbortController) => {
            const { events } = await begun(kind, control)
            const reading = (async () => {
              while (!(await events.next()).done);
            })()
            reading.catch(() => {})
            await new Promise(setImmediate)
            control.abort()
            await expect(reading).rejects.toMatchObject({ code: 'aborted' })
          },
        ],
      ]
    }),
  ),
  'was aborted before it came': async (kind, control) => {
    control.abort()
    kind.submit(request({ signal: control.signal }))
  },
}

/** Where only the engines and timers are looked at. */
const nobody: Kind = { submit: (request) => edge.submit(request), check: () => {} }

/**
 * Checks that both engines hold nothing but their prefix caches, that no timer runs, and that the
 * signal has no listener.
 */
async function free(kind: Kind, signal?: AbortSignal): Promise<void> {
  const holds = () =>
    [edge, mac].some(({ stats }) => stats.running + stats.waiting > 0 || stats.pages_in_use > stats.prefix_pages) ||
    timers.live(50) > 0
  for (let tries = 0; tries < 6000 && holds(); tries++) await new Promise((resolve) => setTimeout(resolve, 5))
  for (const { stats } of [edge, mac])
    expect(stats).toMatchObject({ running: 0, waiting: 0, pages_in_use: stats.prefix_pages })
  kind.check()
  expect(timers.live(50)).toBe(0)
  if (signal) expect(getEventListeners(signal, 'abort')).toEqual([])
}

describe.each(Object.keys(kinds))('an answer by %s releases everything when it', (name) => {
  test.each(Object.keys(endings))('%s', async (ending) => {
    const kind = await kinds[name]!()
    const control = new AbortController()
    await endings[ending]!(kind, control)
    await free(kind, name === 'the engine' ? undefined : control.signal)
  })
})

test("closing an engine ends its answers, read or not, and its companions' work for them", async () => {
  for (const [way, handOver] of [
    ['remote', false],
    ['relay', false],
    ['race', false],
    ['relay', true],
  ] as const) {
    const own = await Engine.load(tinyFiles({ context: 512 }), options)
    const kind = await routed(way, handOver, own)
    const answers = [kind.submit(request())]
    await answers[0]![Symbol.asyncIterator]().next()
    await own.close()
    await free(kind)
  }
})

describe('a companion releases its turn, pages and timers when an edge', () => {
  /** There is one turn, for the next request. */
  function service(stallSeconds = 60) {
    const over: object[] = []
    const app = createCompanion({
      engine: mac,
      edges: ['a', 'b'].map((id) => ({ id, key: pairKey })),
      limits: { running: 1, stallSeconds },
      onRequest: (line) => over.push(line),
    })
    const ask = async (path: '/v1/prefill' | '/v1/relay', id = 'a', signal?: AbortSignal) => {
      const ids = randomPrompt(300, 9000 + seed++)
      const asked = { ids, model: mac.identity, tenant: '' }
      const range = { codec: 'f32', from: 0, to: 288 }
      const text =
        path === '/v1/prefill'
          ? { ...asked, ...range }
          : { ...asked, maxTokens: 100, options: { ignoreEos: true }, after: [] }
      const body = new TextEncoder().encode(JSON.stringify(text))
      const { authorization } = await sign(id, pairKey, { method: 'POST', path, body })
      const headers = { authorization, 'content-type': 'application/json' }
      return app.fetch(
        new Request(`http://mac.test${path}`, {
          method: 'POST',
          headers,
          body,
          ...(signal && { signal }),
          duplex: 'half',
        } as RequestInit),
      )
    }
    return { ask, over }
  }

  const ends: Readonly<Record<string, (response: Response, control: AbortController) => Promise<unknown>>> = {
    'reads everything': (response) => response.arrayBuffer(),
    'goes away before it reads': async (_, control) => control.abort(),
    'goes away in the middle': async (response, control) => {
      await response.body!.getReader().read()
      control.abort()
    },
    'lets the body go unread': (response) => response.body!.cancel(),
    'lets the body go in the middle': async (response) => {
      const reader = response.body!.getReader()
      await reader.read()
      await reader.cancel()
    },
    'never reads': async () => {},
    'stops reading': async (response) => {
      await response.body!.getReader().read()
    },
  }

  for (const path of ['/v1/prefill', '/v1/relay'] as const)
    test.each(Object.keys(ends))(`${path}: %s`, async (end) => {
      const stalls = end === 'never reads' || end === 'stops reading'
      const { ask, over } = service(stalls ? 0.05 : 60)
      const control = new AbortController()
      const response = await ask(path, 'a', control.signal)
      expect(response.status).toBe(200)
      // The other edge waits for the only turn, and gets it.
      const next = ask(path, 'b')
      await ends[end]!(response, control)
      const after = await next
      expect(after.status).toBe(200)
      await after.body?.cancel()
      await free(nobody)
      expect(over).toEqual([
        expect.objectContaining({ edge: 'a', route: path, ...(stalls && { aborted: 'stalled' }) }),
        expect.objectContaining({ edge: 'b' }),
      ])
      expect(getEventListeners(control.signal, 'abort').length).toBeLessThanOrEqual(1)
    })

  test('is refused before its turn, or disconnects while it waits', async () => {
    const { ask, over } = service()
    const first = await ask('/v1/relay')
    const control = new AbortController()
    const waiting = ask('/v1/relay', 'b', control.signal)
    await new Promise((resolve) => setTimeout(resolve, 20))
    control.abort()
    expect((await waiting).status).toBeGreaterThanOrEqual(400)
    await first.body!.cancel()
    await free(nobody)
    expect(over).toHaveLength(1)
  })
})

/** A fetch that never answers, and one whose body hangs, both ignoring their signal. */
const deaf: Readonly<Record<string, Fetch>> = {
  'never answers': () => new Promise(() => {}),
  'sends nothing': async () =>
    new Response(new ReadableStream({ pull: () => new Promise(() => {}), cancel: () => new Promise(() => {}) })),
}

test.each(Object.keys(deaf))('a fetch that %s and ignores its signal holds nothing', async (how) => {
  const done = (['remote', 'relay', 'race'] as const).map(async (always) => {
    const client = new RemoteCompanion({ url: 'http://mac.test', id: 'edge', key: pairKey }, deaf[how]!, patience)
    const companions = new StaticCompanions([{ name: 'mac', client }])
    const { breaker } = companions.list[0]!
    const own = new Routed(edge, { companions, always })
    const control = new AbortController()
    const refreshing = own.refresh()
    const events = own.submit(request({ signal: control.signal }))[Symbol.asyncIterator]()
    await events.next()
    const next = events.next()
    next.catch(() => {})
    await new Promise((resolve) => setTimeout(resolve, 10))
    control.abort()
    await next.catch(() => {})
    await refreshing
    expect(breaker.state(performance.now() + 1e9)).not.toBe('open')
    expect(getEventListeners(control.signal, 'abort')).toEqual([])
  })
  await Promise.all(done)
  await free(nobody)
})
