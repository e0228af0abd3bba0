/** Signed requests: any change breaks the signature, and a request is taken once. */
import { createHash, createHmac } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isSignedBy, keyBytes, Nonces, parseSigned, type SignedRequest, sign } from '../../src/index.ts'

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
  test('is what its header says', async () => {
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

  test('does not fit another method, path, time, nonce, key, nor a body with any bit changed', async () => {
    const { parsed } = await signed()
    const others: [typeof parsed, SignedRequest, Uint8Array][] = [
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
      }),
    )
  })

  test('each has a nonce of its own', async () => {
    const nonces = await Promise.all(Array.from({ length: 50 }, async () => (await signed()).nonce))
    expect(new Set(nonces).size).toBe(50)
  })

  test.each([
    undefined,
    null,
    '',
    'Bearer x',
    'Foretoken',
    `Foretoken v=2, id=a, time=1, nonce=${'0'.repeat(32)}, mac=${'0'.repeat(63)}`,
    `Foretoken id=a b, time=1, nonce=${'0'.repeat(32)}, mac=${'0'.repeat(64)}`,
    `Foretoken id=a, time=-1, nonce=${'0'.repeat(32)}, mac=${'0'.repeat(64)}`,
    `Foretoken v=2, id=a, time=1, nonce=${'G'.repeat(32)}, mac=${'0'.repeat(64)}`,
    `Foretoken v=2, id=a, time=1, nonce=${'0'.repeat(32)}, mac=${'0'.repeat(64)}, more=1`,
  ])('%j is none', (text) => {
    expect(parseSigned(text)).toBeUndefined()
  })

  test('any text is a signature or none', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => parseSigned(text) === undefined))
  })
})

describe('nonces', () => {
  const told = (nonce: number, time: number, id = 'a') => ({ id, time, nonce: String(nonce), mac: '' })

  test('each is taken once, by each edge', () => {
    const nonces = new Nonces(1000)
    expect(nonces.take(told(1, 0), 0)).toBeUndefined()
    expect(nonces.take(told(1, 0), 0)).toBe('replayed')
    expect(nonces.take(told(1, 0, 'b'), 0)).toBeUndefined()
  })

  test.each([-1001, 1001])('a request %d ms off is late', (time) => {
    expect(new Nonces(1000).take(told(1, time), 0)).toBe('late')
  })

  test('none is forgotten while its request could be taken again', () => {
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
          // A replay has the time that it was signed with.
          const time = taken.get(String(nonce)) ?? now + off
          const why = nonces.take(told(nonce, time), now)
          if (taken.has(String(nonce))) expect(why).toMatch(/late|replayed/)
          else if (why === undefined) taken.set(String(nonce), time)
        }
      }),
    )
  })

  test('what is full takes no more, until the oldest are past', () => {
    const nonces = new Nonces(1000, 2)
    expect([1, 2, 3].map((nonce) => nonces.take(told(nonce, 0), 0))).toEqual([undefined, undefined, 'full'])
    expect(nonces.take(told(3, 2001), 2001)).toBeUndefined()
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
