/** How much may be asked in a minute, and that refused work counts in it. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { configOf } from '../../edge/config.ts'
import type { Caller } from '../../edge/guard/keys.ts'
import { Rate } from '../../edge/guard/rate.ts'
import { createApp, type ServerConfig } from '../../edge/index.ts'
import type { Engine } from '../../src/index.ts'
import { ask, chatBody, refusal } from '../helpers/ask.ts'
import { testConfig, testKeys, tinyEngine } from '../helpers/tiny-server.ts'

let engine: Engine
beforeAll(async () => {
  engine = await tinyEngine()
})
afterAll(() => engine.close())

const KB = 1 << 10
const nobody: Caller = { key: undefined, tenant: '', name: '' }
const someone = (sha256: string): Caller => ({ key: { sha256, metrics: false }, tenant: sha256, name: '' })

describe('a rate limit', () => {
  function rates(limits: ServerConfig['limits']) {
    let now = 0
    const rate = new Rate(configOf({ listen: 'loopback', limits }).limits, () => now)
    return { rate, pass: (ms: number) => void (now += ms) }
  }

  test('has a default for all keys that set none', () => {
    const { rate } = rates({})
    for (let n = 0; n < 60_000; n++) rate.countRequest(nobody, 'answers')
    expect(() => rate.countRequest(nobody, 'answers')).toThrow(/60000 requests a minute/)
    rate.countRequest(someone('a'), 'answers')
  })

  test('for reads differs from that for answers', () => {
    const { rate, pass } = rates({ requestsPerMinute: 60 })
    for (const kind of ['reads', 'answers'] as const) {
      for (let n = 0; n < 60; n++) rate.countRequest(nobody, kind)
      expect(() => rate.countRequest(nobody, kind)).toThrow(/60 requests a minute/)
    }
    pass(1000)
    rate.countRequest(nobody, 'reads')
    rate.countRequest(nobody, 'answers')
    expect(() => rate.countRequest(nobody, 'reads')).toThrow()
  })

  test('for refused bytes: at the limit, beyond it, and again after some time', () => {
    const { rate, pass } = rates({ bodyBytes: 100 * KB, refusedBytesPerMinute: 4000 * KB })
    const refuse = (bytes: number, caller = someone('a')) => {
      const work = rate.work(caller)
      work.expect(bytes)
      work.close(true)
    }
    // A quarter at once, 16 KiB of each for the refusal itself.
    for (let n = 0; n < 10; n++) refuse(84 * KB)
    expect(() => refuse(1)).toThrow(/4096000 bytes a minute/)
    expect(() => refuse(84 * KB, someone('b'))).not.toThrow()
    pass(1500)
    refuse(84 * KB)
    expect(() => refuse(1)).toThrow()
  })

  test('does not count answered work, but counts all work in progress', () => {
    const { rate } = rates({ bodyBytes: 100 * KB, refusedBytesPerMinute: 4000 * KB })
    const all = Array.from({ length: 10 }, () => rate.work(someone('a')))
    for (const work of all) work.expect(84 * KB)
    expect(() => rate.work(someone('a')).expect(1)).toThrow()
    for (const work of all) {
      work.close(false)
      work.close(false)
    }
    for (let n = 0; n < 3; n++) {
      const work = rate.work(someone('a'))
      work.expect(50 * KB)
      work.expect(84 * KB)
      work.close(false)
    }
    for (const work of all.map(() => rate.work(someone('a')))) work.expect(84 * KB)
    expect(() => rate.work(someone('a')).expect(1)).toThrow()
  })

  test('without keys to divide it stops large bodies, and lets small ones through', () => {
    const { rate } = rates({ bodyBytes: 100 * KB, refusedBytesPerMinute: 4000 * KB })
    for (let n = 0; n < 10; n++) {
      const work = rate.work(nobody)
      work.expect(84 * KB)
      work.close(true)
    }
    expect(() => rate.work(nobody).expect(17 * KB)).toThrow()
    expect(() => rate.work(nobody).expect(16 * KB)).not.toThrow()
  })
})

test('polling lists does not use up the answer rate, and metrics are always available', async () => {
  const app = createApp({ engine, config: { listen: 'loopback', models: ['tiny'], limits: { requestsPerMinute: 3 } } })
  const status = async (path: string, body?: unknown) =>
    (await ask(app, body, { path, key: '', headers: { host: 'localhost' } })).status
  const lists: number[] = []
  for (let n = 0; n < 5; n++) lists.push(await status('/v1/models'))
  expect(lists).toEqual([200, 200, 200, 429, 429])
  const answers: number[] = []
  for (let n = 0; n < 5; n++) answers.push(await status('/v1/chat/completions', chatBody()))
  expect(answers).toEqual([200, 200, 200, 429, 429])
  for (let n = 0; n < 10; n++) expect(await status('/metrics')).toBe(200)
})

test('a key that sends invalid bodies is stopped before they are read, and others are answered', async () => {
  const limits = { bodyBytes: 100_000, refusedBytesPerMinute: 2_000_000 }
  const app = createApp({ engine, config: { ...testConfig, limits } })
  const nonsense = () => ask(app, undefined, { raw: `{"model":"tiny","messages":[{"role":"${'x'.repeat(90_000)}"}]}` })
  const statuses: number[] = []
  for (let n = 0; n < 8; n++) statuses.push((await nonsense()).status)
  expect(statuses).toEqual([400, 400, 400, 400, 429, 429, 429, 429])
  const told = await nonsense()
  expect(Number(told.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
  expect(await refusal(told)).toMatchObject({ status: 429, code: 'rate_limit_exceeded' })
  let read = 0
  const raw = new ReadableStream<Uint8Array>(
    { pull: (out) => out.enqueue(new Uint8Array(++read && 1000)) },
    { highWaterMark: 0 },
  )
  expect((await ask(app, undefined, { raw, headers: { 'content-length': '90000' } })).status).toBe(429)
  expect(read).toBe(0)
  for (let n = 0; n < 20; n++) expect((await ask(app, chatBody(), { key: testKeys.two })).status).toBe(200)
})
