/** Tests the limits on one tenant's share of the answers, so that others find room. */
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { configOf } from '../../edge/config.ts'
import { Admission } from '../../edge/guard/admission.ts'
import type { Caller } from '../../edge/guard/keys.ts'
import { createApp, type ServerConfig } from '../../edge/index.ts'
import type { Engine } from '../../src/index.ts'
import { ask, chatBody, refusal } from '../helpers/ask.ts'
import { sha256, testConfig, testKeys, tinyEngine } from '../helpers/tiny-server.ts'

let engine: Engine
beforeAll(async () => {
  engine = await tinyEngine({ kvTokens: 128 * 1024 })
})
afterAll(() => engine.close())

test('one key at its answer limit leaves room for another: none of its requests is refused', async () => {
  const app = createApp({ engine, config: { ...testConfig, limits: { waitSeconds: 0 } } })
  const greedy = await Promise.all(
    Array.from({ length: 8 }, () => ask(app, chatBody({ n: 8, stream: true, max_tokens: 900, temperature: 1 }))),
  )
  const statuses = greedy.map(({ status }) => status)
  expect(statuses.filter((status) => status === 200)).toHaveLength(4)
  for (const one of greedy.filter(({ status }) => status !== 200))
    expect(await refusal(one)).toMatchObject({ status: 429, code: 'concurrency_limit_exceeded' })
  for (let n = 0; n < 28; n++)
    expect((await ask(app, chatBody({ max_tokens: 1 }), { key: testKeys.two })).status).toBe(200)
  await Promise.all(greedy.map(({ body }) => body?.cancel().catch(() => {})))
})

test('a server with one tenant gives it the whole capacity', async () => {
  const keys = [testKeys.one, testKeys.two].map((key) => ({ sha256: sha256(key), tenant: 'same' }))
  for (const config of [{ listen: 'loopback' }, { keys: [keys[0]!] }, { keys }] as ServerConfig[]) {
    const app = createApp({ engine, config: { ...config, limits: { waitSeconds: 0 } } })
    const asks = (count: number) =>
      Array.from({ length: count }, () =>
        ask(app, chatBody({ n: 8, stream: true, max_tokens: 900 }), { headers: { host: 'localhost' } }),
      )
    const all = await Promise.all(asks(9))
    expect(all.map(({ status }) => status).toSorted()).toEqual([...Array(8).fill(200), 503])
    await Promise.all(all.map(({ body }) => body?.cancel().catch(() => {})))
  }
})

test.each([
  ['tools', { tools: [{ type: 'function', function: { name: 'f', description: 'x'.repeat(240) } }] }],
  [
    'thoughts',
    {
      messages: [
        { role: 'user', content: 'a' },
        { role: 'assistant', content: 'b', reasoning_content: 'x'.repeat(240) },
        { role: 'user', content: 'c' },
      ],
    },
  ],
])('what a template may write counts towards the cost: %s', async (_, change) => {
  const app = createApp({ engine, config: { listen: 'loopback', limits: { waitSeconds: 0, tokens: 250 } } })
  const asks = (body: object) =>
    ask(app, chatBody({ stream: true, max_tokens: 50, ...body }), { headers: { host: 'localhost' } })
  const all = await Promise.all([asks({}), asks({}), asks(change), asks(change)])
  expect(all.map(({ status }) => status)).toEqual([200, 200, 200, 503])
  await Promise.all(all.map(({ body }) => body?.cancel().catch(() => {})))
})

describe('admission', () => {
  const tenant = (name: string): Caller => ({ key: { sha256: name, metrics: false }, tenant: name, name })
  const [a, b, c] = [tenant('a'), tenant('b'), tenant('c')]
  const patient = new AbortController().signal

  function admission(limits: ServerConfig['limits']) {
    const keys = ['a', 'b', 'c'].map((name) => ({ sha256: sha256(name), tenant: name }))
    const own = new Admission(configOf({ keys, limits: { waitSeconds: 300, ...limits } }))
    return {
      own,
      enter: (caller: Caller, answers = 1, tokens = 1, signal = patient) =>
        own.enter(caller, { answers, tokens }, 100, signal),
    }
  }

  test('a waiting request that leaves does not delay those after it', async () => {
    const { own, enter } = admission({ concurrency: 8, waitSeconds: 300 })
    const held = [await enter(a), await enter(a)]
    const leaving = new AbortController()
    const large = enter(a, 8, 1, leaving.signal)
    const small = enter(a, 1)
    // The small one may have passed the large one already: what counts is that it is let in once that has gone.
    leaving.abort(new Error('gone'))
    await expect(large).rejects.toThrow('gone')
    for (const leave of [...held, await small]) leave()
    const [first] = [await enter(b, 2)]
    const full = enter(b, 6)
    const leaver = new AbortController()
    const before = enter(b, 7, 1, leaver.signal)
    const behind = enter(b, 1)
    leaver.abort(new Error('gone'))
    await expect(before).rejects.toThrow('gone')
    ;(await behind)()
    first()
    ;(await full)()
    expect([own.running, own.waiting]).toEqual([0, 0])
  })

  test('leaves room for one more tenant: half for one alone, a third each for two', async () => {
    const { own, enter } = admission({ concurrency: 12, waiting: 0 })
    for (let n = 0; n < 6; n++) await enter(a)
    await expect(enter(a)).rejects.toMatchObject({ status: 429 })
    for (let n = 0; n < 3; n++) await enter(b)
    await expect(enter(b)).rejects.toMatchObject({ status: 429 })
    await enter(c)
    expect(own.running).toBe(10)
  })

  test('counts tokens as well as answers', async () => {
    const { enter } = admission({ concurrency: 12, tokens: 100, waiting: 0 })
    const leave = await enter(a, 1, 40)
    await expect(enter(a, 1, 40)).rejects.toMatchObject({ status: 429 })
    await enter(b, 1, 60)
    await expect(enter(c, 1, 1)).rejects.toMatchObject({ status: 503 })
    leave()
    await enter(c, 1, 1)
    // More than all there is takes all there is, alone.
    const alone = admission({ tokens: 100, waiting: 0 })
    await alone.enter(a, 1, 101)
    await expect(alone.enter(b, 1, 1)).rejects.toMatchObject({ status: 503 })
  })

  test('admits waiting requests tenant by tenant', async () => {
    const { own, enter } = admission({ concurrency: 1 })
    const order: string[] = []
    const leave = await enter(c)
    const all = [a, a, a, b, b, c].map(async (caller) => {
      const left = await enter(caller)
      order.push(caller.name)
      left()
    })
    expect(own.waiting).toBe(6)
    leave()
    await Promise.all(all)
    expect(order).toEqual(['a', 'b', 'c', 'a', 'b', 'a'])
    expect([own.running, own.waiting]).toEqual([0, 0])
  })

  test('a request that does not fit yet does not delay others', async () => {
    const { enter } = admission({ concurrency: 8 })
    const leave = await enter(a, 4)
    const large = enter(b, 8)
    await enter(c, 2)
    leave()
    await enter(c, 2)
    void large.catch(() => {})
  })

  test('one tenant gets at most half of the waiting room', async () => {
    const { own, enter } = admission({ concurrency: 1, waiting: 4 })
    const leave = await enter(c)
    const waits = [enter(a), enter(a)]
    await expect(enter(a)).rejects.toMatchObject({ status: 503 })
    waits.push(enter(b), enter(b))
    await expect(enter(c)).rejects.toMatchObject({ status: 503 })
    leave()
    await Promise.all(waits.map(async (wait) => (await wait)()))
    expect(own.waiting).toBe(0)
  })

  test('a request that disconnects or times out stops waiting', async () => {
    const { own, enter } = admission({ concurrency: 1, waitSeconds: 0.02 })
    const leave = await enter(c)
    const control = new AbortController()
    const left = enter(a, 1, 1, control.signal)
    control.abort(new Error('left'))
    await expect(left).rejects.toThrow('left')
    await expect(enter(a)).rejects.toMatchObject({ status: 503, code: 'busy' })
    await expect(enter(a, 1, 1, control.signal)).rejects.toThrow('left')
    expect(own.waiting).toBe(0)
    leave()
    leave()
    expect(own.running).toBe(0)
    await enter(a)
  })

  test("a key's limit is refused at once, and applies to requests that waited", async () => {
    const { enter } = admission({ concurrency: 2, concurrencyPerKey: 1 })
    await enter(a)
    await expect(enter(a)).rejects.toMatchObject({ status: 429 })
    const leave = await enter(b)
    const both = [enter(c), enter(c)]
    leave()
    await both[0]
    const second = both[1]!.then(() => 'in')
    expect(await Promise.race([second, new Promise((resolve) => setTimeout(resolve, 20, 'waits'))])).toBe('waits')
    await expect(enter(a, 3)).rejects.toMatchObject({ status: 400, param: 'n' })
  })
})

test('a prompt is tokenized once, however many answers it gets', async () => {
  const { tokenizer } = engine
  const encode = vi.spyOn(tokenizer, 'encodeSteps')
  try {
    const app = createApp({ engine, config: testConfig })
    const body = { model: 'tiny', prompt: ['one', 'two'], n: 4, max_tokens: 2 }
    const { choices } = await (await ask(app, body, { path: '/v1/completions' })).json()
    expect(choices).toHaveLength(8)
    expect(encode.mock.calls.length).toBeLessThanOrEqual(2)
  } finally {
    encode.mockRestore()
  }
})
