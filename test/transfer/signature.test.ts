/** Signed requests: any change breaks the signature, and a request is accepted once. */
import { createHash, createHmac } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import {
  isBodyOf,
  isSignedBy,
  keyBytes,
  Nonces,
  parseSigned,
  type SignedRequest,
  sign,
  signedVersion,
} from '../../src/index.ts'
import fc from '../helpers/properties.ts'

const key = new Uint8Array(32).fill(5)
const request: SignedRequest = {
  method: 'POST',
  path: '/v1/prefill?a=1',
  body: new TextEncoder().encode('{"ids":[1,2,3]}'),
}

async function signed(now = 1_000_000) {
  const { authorization, nonce } = await sign('edge-1', key, request, now)
  return { authorization, nonce, parsed: parseSigned(authorization)! }
}

describe('a signature', () => {
  test('matches the description in its header', async () => {
    const { parsed, nonce } = await signed()
    const body = createHash('sha256').update(request.body).digest('hex')
    const lines = ['foretoken request 2', 'edge-1', 'POST', '/v1/prefill?a=1', '1000000', nonce, '15', body]
    const text = lines.join('\n')
    expect(parsed).toEqual({
      id: 'edge-1',
      time: 1_000_000,
      nonce,
      length: 15,
      sha256: body,
      mac: createHmac('sha256', key).update(text).digest('hex'),
    })
    expect(await isSignedBy(key, parsed, request)).toBe(true)
  })

  test('is verified without the body, whose length and hash it covers', async () => {
    const { parsed } = await signed()
    const { method, path, body } = request
    expect(await isSignedBy(key, parsed, { method, path })).toBe(true)
    expect(await isBodyOf(parsed, body)).toBe(true)
    for (const other of [body.slice(1), Uint8Array.of(...body, 0), new Uint8Array()])
      expect(await isBodyOf(parsed, other)).toBe(false)
  })

  test('fails for another method, path, id, time, nonce, length, hash or key, or a body with any bit changed', async () => {
    const { parsed } = await signed()
    const others: [typeof parsed, SignedRequest, Uint8Array][] = [
      [{ ...parsed, id: 'edge-2' }, request, key],
      [{ ...parsed, length: parsed.length + 1 }, request, key],
      [{ ...parsed, sha256: parsed.sha256.replace(/^./, (digit) => (digit === '0' ? '1' : '0')) }, request, key],
      [parsed, { ...request, method: 'GET' }, key],
      [parsed, { ...request, path: '/v1/relay?a=1' }, key],
      [{ ...parsed, time: parsed.time + 1 }, request, key],
      [{ ...parsed, nonce: parsed.nonce.replace(/^./, (digit) => (digit === '0' ? '1' : '0')) }, request, key],
      [parsed, request, new Uint8Array(32).fill(6)],
    ]
    for (const [told, what, own] of others) expect(await isSignedBy(own, told, what)).toBe(false)
    await fc.assert(
      fc.asyncProperty(fc.nat(request.body.length * 8 - 1), async (bit) => {
        const body = request.body.slice()
        body[bit >> 3]! ^= 1 << (bit & 7)
        expect(await isSignedBy(key, parsed, { ...request, body })).toBe(false)
        expect(await isBodyOf(parsed, body)).toBe(false)
      }),
    )
  })

  test('has a nonce of its own', async () => {
    const nonces = await Promise.all(Array.from({ length: 50 }, async () => (await signed()).nonce))
    expect(new Set(nonces).size).toBe(50)
  })

  const fields = {
    v: '2',
    id: 'a',
    time: '1',
    nonce: '0'.repeat(32),
    length: '1',
    sha256: '0'.repeat(64),
    mac: '0'.repeat(64),
  }
  const header = (change: Record<string, string> = {}) =>
    `Foretoken ${Object.entries({ ...fields, ...change })
      .map((pair) => pair.join('='))
      .join(', ')}`

  test('is parsed from a header', () => {
    expect(parseSigned(header())).toMatchObject({ id: 'a', time: 1, length: 1 })
  })

  test.each([
    undefined,
    null,
    '',
    'Bearer x',
    'Foretoken',
    ...[
      { v: '1' },
      { v: '3' },
      { id: 'a b' },
      { id: '' },
      { time: '-1' },
      { time: '1e3' },
      { nonce: 'G'.repeat(32) },
      { nonce: '0'.repeat(31) },
      { length: '-1' },
      { length: '1'.repeat(11) },
      { sha256: '0'.repeat(63) },
      { mac: '0'.repeat(63) },
      { more: '1' },
    ].map(header),
  ])('%j is not a signature', (text) => {
    expect(parseSigned(text)).toBeUndefined()
  })

  test.each([
    [header(), 2],
    [header({ v: '3' }), 3],
    [`Foretoken id=a, time=1, nonce=${'0'.repeat(32)}, mac=${'0'.repeat(64)}`, 1],
    ['Bearer x', undefined],
    [undefined, undefined],
  ])('%j is of version %s', (text, version) => {
    expect(signedVersion(text)).toBe(version)
  })

  test('any text is either a signature or refused', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => parseSigned(text) === undefined))
  })
})

describe('nonces', () => {
  const told = (nonce: number, time: number, id = 'a') => ({ id, time, nonce: String(nonce) })

  test('are each accepted once per edge', () => {
    const nonces = new Nonces(1000)
    expect(nonces.take(told(1, 0), 0)).toBeUndefined()
    expect(nonces.take(told(1, 0), 0)).toBe('replayed')
    expect(nonces.take(told(1, 0, 'b'), 0)).toBeUndefined()
  })

  test.each([-1001, 1001])('a request %d ms off is late', (time) => {
    expect(new Nonces(1000).take(told(1, time), 0)).toBe('late')
  })

  test('are not dropped while their request could be replayed', () => {
    const requests = fc.array(fc.tuple(fc.nat(20), fc.integer({ min: -1000, max: 1000 }), fc.nat(600)), {
      maxLength: 60,
    })
    fc.assert(
      fc.property(requests, (all) => {
        const nonces = new Nonces(1000)
        const taken = new Map<string, number>()
        let now = 0
        for (const [nonce, off, pause] of all) {
          now += pause
          // A replay has the time at which it was signed.
          const time = taken.get(String(nonce)) ?? now + off
          const why = nonces.take(told(nonce, time), now)
          if (taken.has(String(nonce))) expect(why).toMatch(/late|replayed/)
          else if (why === undefined) taken.set(String(nonce), time)
        }
      }),
    )
  })

  test('a full table accepts no more of its edge, and all of others, until the oldest expire', () => {
    const nonces = new Nonces(1000, 2)
    expect([1, 2, 3].map((nonce) => nonces.take(told(nonce, 0), 0))).toEqual([undefined, undefined, 'full'])
    expect([1, 2, 3].map((nonce) => nonces.take(told(nonce, 0, 'b'), 0))).toEqual([undefined, undefined, 'full'])
    expect(nonces.take(told(3, 2001), 2001)).toBeUndefined()
  })

  test('are each kept until they expire, and no longer', () => {
    // One from the past, now, and the future; each is late once it is 1,000 ms old.
    const nonces = new Nonces(1000, 3)
    for (const [nonce, time] of [
      [1, 9100],
      [2, 10_000],
      [3, 10_900],
    ] as const)
      expect(nonces.take(told(nonce, time), 10_000)).toBeUndefined()
    expect(nonces.take(told(4, 10_090), 10_090)).toBe('full')
    expect(nonces.take(told(1, 9100), 10_100)).toBe('replayed')
    expect(nonces.take(told(1, 9100), 10_101)).toBe('late')
    // The first was forgotten, within a slot's time.
    expect(nonces.take(told(4, 10_090), 10_100 + 63)).toBeUndefined()
    expect(nonces.take(told(3, 10_900), 11_899)).toBe('replayed')
  })

  test('setting the clock back allows no replay', () => {
    const nonces = new Nonces(1000)
    expect(nonces.take(told(1, 5000), 5000)).toBeUndefined()
    expect(nonces.take(told(2, 9000), 9000)).toBeUndefined()
    expect(nonces.take(told(1, 5000), 5000)).toBe('late')
  })
})

describe('a key', () => {
  test('is bytes in hex, or text', () => {
    expect(keyBytes('ab'.repeat(32))).toEqual(new Uint8Array(32).fill(0xab))
    expect(keyBytes('correct horse battery staple')).toEqual(new TextEncoder().encode('correct horse battery staple'))
  })

  test.each(['', 'short', 'ab'.repeat(7)])('%j is too short', (text) => {
    expect(() => keyBytes(text)).toThrow(expect.objectContaining({ code: 'bad_argument' }))
  })
})
