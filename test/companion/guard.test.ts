/** Tests which requests a companion accepts, and how it refuses others. */
import { describe, expect, test } from 'vitest'
import { Guard } from '../../companion/guard.ts'
import { Nonces, sign } from '../../src/index.ts'

const key = new Uint8Array(32).fill(5)
const limits = { bodyBytes: 100, bodySeconds: 5 }
const guard = () => new Guard([{ id: 'edge-1', key }])

async function asked(change: { body?: string; path?: string; key?: Uint8Array; id?: string; time?: number } = {}) {
  const { body = '{}', path = '/v1/prefill', id = 'edge-1', time = Date.now() } = change
  const bytes = new TextEncoder().encode(body)
  const { authorization } = await sign(
    id,
    change.key ?? key,
    { method: 'POST', path: '/v1/prefill', body: bytes },
    time,
  )
  return () => new Request(`http://mac.test${path}`, { method: 'POST', body: bytes, headers: { authorization } })
}

test('a signed request is accepted and names its edge', async () => {
  const verified = await guard().verified((await asked())(), limits)
  expect(verified.edge.id).toBe('edge-1')
  expect(new TextDecoder().decode(verified.body)).toBe('{}')
  expect(verified.nonce).toMatch(/^[0-9a-f]{32}$/)
})

describe('requests that are refused', () => {
  test.each([
    ['another key', { key: new Uint8Array(32).fill(6) }, /keys/],
    ['an edge that is not known', { id: 'edge-2' }, /not signed by an edge/],
    ['another path', { path: '/v1/relay' }, /signature/],
    ['a query that was added', { path: '/v1/prefill?x=1' }, /signature/],
    ['an old request', { time: Date.now() - 61_000 }, /clocks/],
    ['one of the future', { time: Date.now() + 61_000 }, /clocks/],
  ])('%s', async (_, change, why) => {
    const failing = guard().verified((await asked(change))(), limits)
    await expect(failing).rejects.toMatchObject({ status: 401, message: expect.stringMatching(why) })
  })

  test('a replayed request', async () => {
    const own = guard()
    const request = await asked()
    await own.verified(request(), limits)
    await expect(own.verified(request(), limits)).rejects.toMatchObject({
      status: 401,
      message: expect.stringMatching('taken before'),
    })
  })

  test('a body that is too long, before it is hashed', async () => {
    const long = (await asked({ body: 'x'.repeat(101) }))()
    await expect(guard().verified(long, limits)).rejects.toMatchObject({ status: 413 })
  })

  test('more requests than nonces can be kept, with a retry time, for that edge only', async () => {
    const edges = ['edge-1', 'edge-2'].map((id) => ({ id, key }))
    const full = new Guard(edges, new Nonces(60_000, 1))
    await full.verified((await asked())(), limits)
    await expect(full.verified((await asked())(), limits)).rejects.toMatchObject({
      status: 429,
      headers: { 'retry-after': '60' },
    })
    await full.verified((await asked({ id: 'edge-2' }))(), limits)
  })

  test('more requests per minute than an edge may make, for that edge only; strangers use up none of them', async () => {
    const edges = ['edge-1', 'edge-2'].map((id) => ({ id, key }))
    const own = new Guard(edges, new Nonces(), { requestsPerMinute: 3, bodiesBytes: 1000 })
    for (let at = 0; at < 5; at++)
      await expect(own.verified((await asked({ key: new Uint8Array(32) }))(), limits)).rejects.toThrow('keys')
    for (let at = 0; at < 3; at++) await own.verified((await asked())(), limits)
    await expect(own.verified((await asked())(), limits)).rejects.toMatchObject({ status: 429 })
    await own.verified((await asked({ id: 'edge-2' }))(), limits)
  })

  test('a signature of another version, by its version', async () => {
    const request = (await asked())()
    const authorization = `Foretoken id=edge-1, time=${Date.now()}, nonce=${'0'.repeat(32)}, mac=${'0'.repeat(64)}`
    request.headers.set('authorization', authorization)
    await expect(guard().verified(request, limits)).rejects.toMatchObject({
      status: 401,
      message: expect.stringMatching(/version 1.*version 2.*same foretoken/),
    })
  })

  test('an unsigned request, without using up a nonce', async () => {
    const own = new Guard([{ id: 'edge-1', key }], new Nonces(60_000, 1))
    for (let at = 0; at < 3; at++)
      await expect(own.verified((await asked({ key: new Uint8Array(32) }))(), limits)).rejects.toMatchObject({
        status: 401,
      })
    await own.verified((await asked())(), limits)
  })
})

describe('the body', () => {
  /** A signed request whose body is sent otherwise than signed. */
  async function sending(text: string, source: UnderlyingDefaultSource<Uint8Array>, id = 'edge-1') {
    const body = new TextEncoder().encode(text)
    const { authorization } = await sign(id, key, { method: 'POST', path: '/v1/prefill', body })
    return requestOf(authorization, new ReadableStream(source, { highWaterMark: 0 }))
  }

  function requestOf(authorization: string, body: ReadableStream<Uint8Array>) {
    const init = { method: 'POST', body, headers: { authorization }, duplex: 'half' }
    return new Request('http://mac.test/v1/prefill', init as RequestInit)
  }

  const bytes = (text: string) => new TextEncoder().encode(text)

  test.each([
    ['no signature', () => ''],
    ['another key', (header: string) => header.replace(/mac=.{8}/, 'mac=00000000')],
    ['another time', (header: string) => header.replace(/time=\d+/, 'time=1')],
    ['another length', (header: string) => header.replace(/length=\d+/, 'length=50')],
    ['a length beyond what is taken', (header: string) => header.replace(/length=\d+/, 'length=101')],
    ['another edge', (header: string) => header.replace('edge-1', 'edge-2')],
    ['another version', (header: string) => header.replace('v=2, ', '')],
  ])('is not read where the head has %s', async (_, change) => {
    let pulled = 0
    const body = new ReadableStream<Uint8Array>({ pull: () => void pulled++ }, { highWaterMark: 0 })
    const signed = await sign('edge-1', key, { method: 'POST', path: '/v1/prefill', body: bytes('{}') })
    const own = guard()
    const refused = own.verified(requestOf(change(signed.authorization), body), limits)
    expect(own.bodiesBytes).toBe(0)
    await expect(refused).rejects.toMatchObject({
      status: expect.toSatisfy((status) => status === 401 || status === 413),
    })
    expect([pulled, own.bodiesBytes]).toEqual([0, 0])
  })

  test('is not read where the request is a replay', async () => {
    const own = guard()
    const { authorization } = await sign('edge-1', key, { method: 'POST', path: '/v1/prefill', body: bytes('{}') })
    const first = new ReadableStream<Uint8Array>({
      start(out) {
        out.enqueue(bytes('{}'))
        out.close()
      },
    })
    await own.verified(requestOf(authorization, first), limits)
    let pulled = 0
    const second = new ReadableStream<Uint8Array>({ pull: () => void pulled++ }, { highWaterMark: 0 })
    await expect(own.verified(requestOf(authorization, second), limits)).rejects.toMatchObject({ status: 401 })
    expect(pulled).toBe(0)
  })

  test.each([
    ['longer', '{"a":1} ', 400],
    ['shorter', '{"a":1', 400],
    ['another of the same length', '{"a":2}', 401],
  ])('%s than the signed one is refused', async (_, sent, status) => {
    const own = guard()
    const request = await sending('{"a":1}', {
      start(out) {
        for (const letter of sent) out.enqueue(bytes(letter))
        out.close()
      },
    })
    await expect(own.verified(request, limits)).rejects.toMatchObject({ status })
    expect(own.bodiesBytes).toBe(0)
  })

  test('is the same in single bytes', async () => {
    const text = 'x'.repeat(100)
    const request = await sending(text, {
      start(out) {
        for (const letter of text) out.enqueue(bytes(letter))
        out.close()
      },
    })
    expect((await guard().verified(request, limits)).body).toEqual(bytes(text))
  })

  test('in very many small chunks is refused before it is complete', async () => {
    const text = 'x'.repeat(200_000)
    let pulled = 0
    const request = await sending(text, {
      pull(out) {
        pulled++
        out.enqueue(bytes('x'))
      },
    })
    await expect(guard().verified(request, { ...limits, bodyBytes: 1 << 20 })).rejects.toMatchObject({
      status: 400,
      message: expect.stringContaining('chunks'),
    })
    expect(pulled).toBeLessThan(100_000)
  })

  test('that does not arrive in time, or breaks off, releases its room', async () => {
    const own = guard()
    const slow = await sending('{}', {})
    await expect(own.verified(slow, { ...limits, bodySeconds: 0.02 })).rejects.toMatchObject({ status: 408 })
    const broken = await sending('{}', { pull: (out) => out.error(new Error('reset')) })
    await expect(own.verified(broken, limits)).rejects.toMatchObject({ status: 400 })
    expect(own.bodiesBytes).toBe(0)
  })

  test('room held by one edge leaves some for others', async () => {
    const edges = ['edge-1', 'edge-2'].map((id) => ({ id, key }))
    const own = new Guard(edges, new Nonces(), { requestsPerMinute: 1000, bodiesBytes: 10 })
    // Bodies of two bytes never arrive; each may hold the free space.
    const held: Promise<unknown>[] = []
    const bodies: ReadableStreamDefaultController<Uint8Array>[] = []
    const open = async (id: string) => {
      const endless = { start: (out: ReadableStreamDefaultController<Uint8Array>) => void bodies.push(out) }
      const failing = own.verified(await sending('{}', endless, id), { ...limits, bodySeconds: 300 })
      held.push(failing.catch(() => {}))
      return failing
    }
    const busy: string[] = []
    const ask = (id: string) => void open(id).catch((error) => error.status === 503 && busy.push(id))
    const until = async (holds: () => boolean) => {
      while (!holds()) await new Promise((resolve) => setTimeout(resolve, 1))
    }
    for (let at = 0; at < 4; at++) ask('edge-1')
    await until(() => busy.length === 1 && own.bodiesBytes === 6)
    ask('edge-2')
    await until(() => own.bodiesBytes === 8)
    for (const body of bodies) body.error(new Error('reset'))
    await Promise.all(held)
    expect(busy).toEqual(['edge-1'])
    expect(own.bodiesBytes).toBe(0)
  })
})

test('that is still arriving is refused at once on a stop', async () => {
  const bytes = new TextEncoder().encode('{}')
  const { authorization } = await sign('edge-1', key, { method: 'POST', path: '/v1/prefill', body: bytes })
  const body = new ReadableStream<Uint8Array>({ start: (out) => out.enqueue(bytes.subarray(0, 1)) })
  const init = { method: 'POST', body, headers: { authorization }, duplex: 'half' }
  const drain = new AbortController()
  const reading = guard().verified(new Request('http://mac.test/v1/prefill', init as RequestInit), {
    ...limits,
    bodySeconds: 600,
    drain: drain.signal,
  })
  setTimeout(() => drain.abort(), 20)
  await expect(reading).rejects.toMatchObject({ status: 503, code: 'stopping' })
})

describe('wasted work', () => {
  const edges = ['edge-1', 'edge-2'].map((id) => ({ id, key }))
  /** Refused requests of two bodies of 1 MB a minute, one of them at once. */
  const small = { refusedBytesPerMinute: 2 << 20, bodyBytes: 1 << 20 }
  const bounds = { bodyBytes: 1 << 20, bodySeconds: 5 }
  const body = ' '.repeat(1 << 20)

  test("counts in its edge's rate of bytes, and in no other", async () => {
    let now = 0
    const own = new Guard(edges, new Nonces(), small, () => now)
    await own.verified((await asked({ body }))(), bounds)
    // An unsettled request counts as refused.
    const refused = own.verified((await asked({ body }))(), bounds)
    await expect(refused).rejects.toMatchObject({ status: 429, headers: { 'retry-after': expect.any(String) } })
    await own.verified((await asked({ body, id: 'edge-2' }))(), bounds)
    now = 60_000
    await own.verified((await asked({ body }))(), bounds)
  })

  test('does not include answered requests', async () => {
    const own = new Guard(edges, new Nonces(), small, () => 0)
    for (let at = 0; at < 5; at++) (await own.verified((await asked({ body }))(), bounds)).work.close(false)
  })

  test('includes bodies that are not the signed ones; strangers use up none of it', async () => {
    const own = new Guard(edges, new Nonces(), small, () => 0)
    for (let at = 0; at < 5; at++)
      await expect(own.verified((await asked({ body, key: new Uint8Array(32) }))(), bounds)).rejects.toThrow('keys')
    const { authorization } = await sign('edge-1', key, {
      method: 'POST',
      path: '/v1/prefill',
      body: new Uint8Array(1 << 20),
    })
    const other = new Request('http://mac.test/v1/prefill', { method: 'POST', body, headers: { authorization } })
    await expect(own.verified(other, bounds)).rejects.toMatchObject({ status: 401 })
    await expect(own.verified((await asked({ body }))(), bounds)).rejects.toMatchObject({ status: 429 })
  })
})
