import { getEventListeners } from 'node:events'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { Gate, type GateOptions } from '../../src/base/gate.ts'
import { Shares } from '../../src/base/shares.ts'

/** A gate for `places` requests at once. */
function gateOf(places: number, options: Omit<GateOptions, 'stocks'> = {}) {
  return new Gate({ stocks: [new Shares(places)], ...options })
}

test('places go in order of arrival; an abandoned wait is skipped; a double release counts once', async () => {
  const gate = gateOf(2, { maxWaiting: 3 })
  const [one, two] = [await gate.enter(), await gate.enter()]
  const order: string[] = []
  const control = new AbortController()
  const waits = (name: string, signal?: AbortSignal) =>
    gate.enter({ signal }).then((release) => {
      order.push(name)
      return release
    })
  const [a, b, c] = [waits('a'), waits('b', control.signal), waits('c')]
  expect([gate.running, gate.waiting]).toEqual([2, 3])
  expect(() => gate.check()).toThrow(expect.objectContaining({ code: 'busy' }))
  await expect(gate.enter()).rejects.toMatchObject({ code: 'busy' })
  control.abort(new Error('gone'))
  await expect(b).rejects.toMatchObject({ code: 'aborted' })
  one()
  one()
  await a
  expect([order, gate.waiting]).toEqual([['a'], 1])
  two()
  expect(order).toEqual(['a'])
  for (const release of [await a, await c]) release()
  expect([order, gate.running, gate.waiting]).toEqual([['a', 'c'], 0, 0])
  await expect(gate.enter({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'aborted' })
  expect(gate.running).toBe(0)
})

describe('refusals', () => {
  test('name the limit that was reached, with the counts beside the request', async () => {
    const busy = vi.fn<NonNullable<GateOptions['busy']>>(() => new Error('busy'))
    const gate = gateOf(1, { maxWaiting: 3, maxWaitingPerTenant: 2, busy })
    await gate.enter({ tenant: 'a' })
    for (const tenant of ['a', 'a', 'b']) void gate.enter({ tenant }).catch(() => {})
    await expect(gate.enter({ tenant: 'c' })).rejects.toThrow('busy')
    expect(busy.mock.lastCall).toEqual([
      { scope: 'all', request: { tenant: 'c' }, running: 1, waiting: 3, waitingOfTenant: 0 },
    ])
    const roomier = gateOf(1, { maxWaitingPerTenant: 1, busy })
    await roomier.enter({ tenant: 'a' })
    void roomier.enter({ tenant: 'a' })
    await expect(roomier.enter({ tenant: 'a' })).rejects.toThrow('busy')
    expect(busy.mock.lastCall?.[0]).toMatchObject({ scope: 'tenant', running: 1, waiting: 1, waitingOfTenant: 1 })
  })

  test.each([
    ['more than there is', [3]],
    ['less than nothing', [-1]],
    ['no number', [Number.NaN]],
    ['two stocks, of one', [1, 1]],
  ])('of amounts that are %s are immediate, as bad_argument', async (_, amounts) => {
    const gate = gateOf(2)
    await expect(gate.enter({ amounts })).rejects.toMatchObject({ code: 'bad_argument' })
    expect([gate.running, gate.waiting]).toEqual([0, 0])
  })

  test('whose error constructor throws reject with the thrown value, and lose no place', async () => {
    const broken = () => {
      throw new Error('broken')
    }
    const gate = gateOf(1, { maxWaiting: 1, busy: broken, cancelled: broken })
    const release = await gate.enter()
    const control = new AbortController()
    const waiting = gate.enter({ signal: control.signal })
    await expect(gate.enter()).rejects.toThrow('broken')
    control.abort()
    await expect(waiting).rejects.toThrow('broken')
    release()
    expect([gate.running, gate.waiting]).toEqual([0, 0])
    await gate.enter()
  })
})

describe('a time limit', () => {
  afterEach(() => void vi.useRealTimers())

  test('ends a wait, makes way for those after it, and leaves admitted ones alone', async () => {
    vi.useFakeTimers()
    const gate = new Gate({ stocks: [new Shares(4)], waitMs: 1000 })
    const release = await gate.enter({ amounts: [3] })
    const entered = gate.enter({ amounts: [1] })
    const large = gate.enter({ amounts: [2] })
    const failed = expect(large).rejects.toMatchObject({ code: 'busy', message: /2 requests run and 0 wait/ })
    await vi.advanceTimersByTimeAsync(999)
    expect(gate.waiting).toBe(1)
    await vi.advanceTimersByTimeAsync(1)
    await failed
    expect([gate.running, gate.waiting, vi.getTimerCount()]).toEqual([2, 0, 0])
    release()
    ;(await entered)()
    expect(gate.running).toBe(0)
  })

  test('may be longer than a timer can count', async () => {
    vi.useFakeTimers()
    const waitMs = 31 * 86_400_000
    const gate = new Gate({ stocks: [new Shares(4)], waitMs })
    await gate.enter({ amounts: [4] })
    const failed = expect(gate.enter({ amounts: [1] })).rejects.toMatchObject({ code: 'busy' })
    await vi.advanceTimersByTimeAsync(waitMs - 1)
    expect(gate.waiting).toBe(1)
    await vi.advanceTimersByTimeAsync(1)
    await failed
    expect(vi.getTimerCount()).toBe(0)
  })

  test('admits a smaller request that waited behind the one that timed out', async () => {
    vi.useFakeTimers()
    const gate = new Gate({ stocks: [new Shares(4)], waitMs: 1000 })
    const [first] = [await gate.enter({ amounts: [2] }), await gate.enter({ amounts: [2] })]
    const failed = expect(gate.enter({ amounts: [4] })).rejects.toMatchObject({ code: 'busy' })
    await vi.advanceTimersByTimeAsync(500)
    const behind = gate.enter({ amounts: [2] })
    first()
    // Two are free, but the one in front needs four.
    expect([gate.running, gate.waiting]).toEqual([1, 2])
    await vi.advanceTimersByTimeAsync(500)
    await failed
    await behind
    expect([gate.running, gate.waiting, vi.getTimerCount()]).toEqual([2, 0, 0])
  })
})

test('a close ends waiting and new requests, and admitted ones release as usual', async () => {
  const stock = new Shares(1)
  const gate = new Gate({ stocks: [stock] })
  const release = await gate.enter()
  const waiting = gate.enter({ tenant: 'a' })
  gate.close(new Error('closed'))
  gate.close(new Error('closed twice'))
  await expect(waiting).rejects.toThrow('closed')
  await expect(gate.enter()).rejects.toThrow(/^closed$/)
  expect([gate.running, gate.waiting, stock.used]).toEqual([1, 0, 1])
  release()
  expect([gate.running, stock.used]).toEqual([0, 0])
})

test('a signal that fires after admission takes nothing from the request', async () => {
  const gate = gateOf(1)
  const release = await gate.enter()
  const control = new AbortController()
  const next = gate.enter({ signal: control.signal })
  release()
  // The place is the waiting request's from here on, before its caller has run.
  control.abort()
  const releaseNext = await next
  expect(gate.running).toBe(1)
  releaseNext()
  expect(gate.running).toBe(0)
})

test('run releases the place when its job fails, and when it throws synchronously', async () => {
  const gate = gateOf(1)
  await expect(
    gate.run({}, async () => {
      throw new Error('failed')
    }),
  ).rejects.toThrow('failed')
  const throwing = () => {
    throw new Error('thrown')
  }
  await expect(gate.run({}, throwing)).rejects.toThrow('thrown')
  expect(await gate.run({}, async () => gate.running)).toBe(1)
  expect(gate.running).toBe(0)
})

test('a wait leaves no listener behind, however it ends', async () => {
  const gate = gateOf(1, { maxWaiting: 1 })
  const { signal } = new AbortController()
  const release = await gate.enter({ signal })
  const waiting = gate.enter({ signal })
  await expect(gate.enter({ signal })).rejects.toMatchObject({ code: 'busy' })
  expect(getEventListeners(signal, 'abort')).toHaveLength(1)
  release()
  await waiting
  expect(getEventListeners(signal, 'abort')).toEqual([])
  const closed = gate.enter({ signal })
  gate.close()
  await expect(closed).rejects.toMatchObject({ code: 'aborted' })
  expect(getEventListeners(signal, 'abort')).toEqual([])
})
