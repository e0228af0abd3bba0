/** Who may ask a companion, and what others are told. */
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

test('a signed request is taken, and says whose it is', async () => {
  const verified = await guard().verified((await asked())(), limits)
  expect(verified.edge.id).toBe('edge-1')
  expect(new TextDecoder().decode(verified.body)).toBe('{}')
  expect(verified.nonce).toMatch(/^[0-9a-f]{32}$/)
})

describe('refused', () => {
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

  test('a request that comes twice', async () => {
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

  test('more requests than nonces can be kept, with when to come again', async () => {
    const full = new Guard([{ id: 'edge-1', key }], new Nonces(60_000, 1))
    await full.verified((await asked())(), limits)
    await expect(full.verified((await asked())(), limits)).rejects.toMatchObject({ status: 429 })
  })

  test('an unsigned request takes no nonce', async () => {
    const own = new Guard([{ id: 'edge-1', key }], new Nonces(60_000, 1))
    for (let at = 0; at < 3; at++)
      await expect(own.verified((await asked({ key: new Uint8Array(32) }))(), limits)).rejects.toMatchObject({
        status: 401,
      })
    await own.verified((await asked())(), limits)
  })
})
