/**
 * Tests how tenants share the scheduler: rows, places, pages and the queue, whatever one of them
 * asks for.
 */
import { describe, expect, test } from 'vitest'
import { TenantAccounts } from '../../src/decode/tenant-accounts.ts'
import { inTurns, TurnQueue } from '../../src/decode/turn-queue.ts'
import { answerAlone } from '../helpers/fake-model.ts'
import { all, prompt, Request, setup, turns } from '../helpers/scheduled.ts'

/** Returns requests with different prompts of `length` and answers of `most` tokens. */
function longAnswers(count: number, length: number, most: number, tenant: string): Request[] {
  const requests: Request[] = []
  for (let seed = 0; requests.length < count; seed++) {
    const ids = [1 + (seed % 60), 1 + (Math.floor(seed / 60) % 60), ...prompt(length - 2, 3)]
    if (answerAlone(ids, most).length === most) requests.push(new Request(ids, most, tenant))
  }
  return requests
}

function expectOwn(requests: readonly Request[]): void {
  for (const { ids, most, answer, error } of requests) {
    expect(error).toBeUndefined()
    expect(answer).toEqual(answerAlone(ids, most))
  }
}

describe('slots', () => {
  test('a tenant that fills them all gives one up when another asks, and its answer continues later', async () => {
    const { scheduler } = setup({ pages: 400, passTokens: 64, options: { maxRunning: 8 } })
    const many = longAnswers(20, 10, 60, 'a')
    for (const request of many) scheduler.add(request)
    await scheduler.drive(turns(8))
    expect(scheduler.stats.running).toBe(8)
    const victim = new Request(prompt(12, 9), 1, 'b')
    scheduler.add(victim)
    await scheduler.drive(turns(2))
    expect(victim.ended).toBe(1)
    expect(scheduler.stats.preemptions).toBe(1)
    await all(scheduler, many)
    expectOwn([...many, victim])
  })

  test('are shared evenly among tenants that want more, and no tenant loses one to another with as many', async () => {
    const { scheduler } = setup({ pages: 400, passTokens: 64, options: { maxRunning: 6 } })
    const tenants = ['a', 'b', 'c'].map((tenant) => longAnswers(8, 10, 40, tenant))
    for (const requests of tenants) {
      for (const request of requests) scheduler.add(request)
      await scheduler.drive(turns(4))
    }
    await scheduler.drive(turns(4))
    const running = tenants.map((requests) => requests.filter(({ answer, ended }) => answer.length > 0 && ended === 0))
    // Some of the first tenant's requests were preempted, for the second tenant and then for the
    // third.
    expect(scheduler.stats.running).toBe(6)
    expect(running[1]!.length).toBeGreaterThanOrEqual(2)
    expect(running[2]!.length).toBeGreaterThanOrEqual(2)
    const { preemptions } = scheduler.stats
    await scheduler.drive(turns(10))
    expect(scheduler.stats.preemptions).toBe(preemptions)
    await all(scheduler, tenants.flat())
    expectOwn(tenants.flat())
  })

  test('one tenant alone gets them all, and never gives one up', async () => {
    const { scheduler } = setup({ pages: 400, passTokens: 64, options: { maxRunning: 8 } })
    const many = longAnswers(20, 10, 30, 'a')
    for (const request of many) scheduler.add(request)
    await all(scheduler, many)
    expect(scheduler.stats.preemptions).toBe(0)
    expectOwn(many)
  })
})

describe('the queue', () => {
  const full = { pages: 400, options: { maxRunning: 2, maxWaiting: 6 } }

  test("accepts another tenant's request when one tenant has filled it, and refuses the latest waiting request", async () => {
    const { scheduler } = setup(full)
    const many = longAnswers(8, 10, 20, 'a')
    for (const request of many) scheduler.add(request)
    await scheduler.drive(turns(3))
    expect(() => scheduler.add(new Request(prompt(9), 2, 'a'))).toThrow(expect.objectContaining({ code: 'busy' }))
    const other = new Request(prompt(12, 9), 2, 'b')
    scheduler.add(other)
    expect(many.map(({ ended }) => ended)).toEqual([0, 0, 0, 0, 0, 0, 0, 1])
    expect(many[7]!.error).toMatchObject({
      code: 'busy',
      message: expect.stringMatching(/8 requests.*8 of them are yours/),
    })
    await all(scheduler, [...many, other])
    expectOwn([...many.slice(0, 7), other])
  })

  test('accepts no more from another tenant than from the first, and reserves a few places for every tenant', () => {
    const { scheduler } = setup({ ...full, options: { maxRunning: 2, maxWaiting: 12 } })
    const many = longAnswers(14, 10, 20, 'a')
    for (const request of many) scheduler.add(request)
    let taken = 0
    const add = () => scheduler.add(new Request(prompt(9, taken), 2, 'b'))
    for (; taken < 7; taken++) add()
    expect(add).toThrow(expect.objectContaining({ code: 'busy' }))
    expect(many.filter(({ error }) => error?.code === 'busy')).toHaveLength(7)
    // A third tenant takes from both.
    for (let n = 0; n < 4; n++) scheduler.add(new Request(prompt(9, n), 2, 'c'))
    // Five are kept, however many others ask.
    expect(() => scheduler.add(new Request(prompt(9), 2, 'd'))).toThrow(expect.objectContaining({ code: 'busy' }))
  })

  test('never revokes an answer that has begun', async () => {
    const { scheduler } = setup({ ...full, options: { maxRunning: 8, maxWaiting: 0 } })
    const many = longAnswers(8, 10, 30, 'a')
    for (const request of many) scheduler.add(request)
    await scheduler.drive(() => many.every(({ answer }) => answer.length > 0))
    const other = () => scheduler.add(new Request(prompt(9), 2, 'b'))
    expect(other).toThrow(expect.objectContaining({ code: 'busy' }))
    await all(scheduler, many)
    expectOwn(many)
  })
})

describe('rows', () => {
  test('prompts of two tenants are read in turns, and those of one tenant as usual', async () => {
    for (const order of ['shortest', 'pack', 'arrival'] as const) {
      const { scheduler } = setup({ pages: 400, passTokens: 16, prefixPages: 0, options: { order, chunk: 16 } })
      const long = ['a', 'a', 'a', 'b'].map((tenant, seed) => new Request(prompt(300, seed), 1, tenant))
      for (const request of long) scheduler.add(request)
      const done = (tenant: string) =>
        long.filter((one) => one.tenant === tenant).reduce((sum, { progress }) => sum + (progress.at(-1) ?? 0), 0)
      while (long[3]!.ended === 0) {
        await scheduler.drive(turns(1))
        expect(Math.abs(done('a') - done('b'))).toBeLessThanOrEqual(32)
      }
      await all(scheduler, long)
      expectOwn(long)
    }
  })

  test('streams of two tenants take turns where a pass has fewer rows than there are streams', async () => {
    const { scheduler } = setup({ pages: 400, passTokens: 2 })
    const many = longAnswers(9, 8, 40, 'a')
    const [one] = longAnswers(1, 8, 40, 'b')
    for (const request of [...many, one!]) scheduler.add(request)
    await all(scheduler, [one!])
    const others = many.reduce((sum, { answer }) => sum + answer.length, 0)
    // In rows: 40 of its own, and about as many of all the others beside their prompts.
    expect(others).toBeLessThan(80)
    await all(scheduler, many)
    expectOwn([...many, one!])
  })
})

describe('pages', () => {
  test('a tenant that holds most of them yields to one that holds less, and its answers are the same', async () => {
    const { scheduler, cache } = setup({ pages: 40, context: 256, prefixPages: 0 })
    const many = longAnswers(10, 40, 100, 'a')
    for (const request of many) scheduler.add(request)
    await scheduler.drive(() => cache.pagesFree < 2)
    const other = new Request(prompt(64, 9), 2, 'b')
    scheduler.add(other)
    const before = scheduler.stats.passes
    await all(scheduler, [other])
    // Its prompt is three passes long.
    expect(scheduler.stats.passes - before).toBeLessThan(10)
    expect(many.some(({ ended }) => ended > 0)).toBe(false)
    await all(scheduler, many)
    expectOwn([...many, other])
  })

  test('a tenant above its share takes none from one within its share', async () => {
    const { scheduler, cache } = setup({ pages: 24, context: 256, prefixPages: 0 })
    const [small] = longAnswers(1, 40, 60, 'b')
    const large = longAnswers(4, 40, 100, 'a')
    // The small one comes last: among requests of one tenant it would be the first to be preempted.
    for (const request of [...large, small!]) scheduler.add(request)
    let least = Number.POSITIVE_INFINITY
    await scheduler.drive(() => {
      const held = small!.sequence?.pages.length ?? 0
      if (small!.answer.length > 0 && small!.ended === 0) least = Math.min(least, held)
      return small!.ended > 0
    })
    expect(least).toBeGreaterThan(0)
    expect(cache.pagesInUse).toBeLessThanOrEqual(24)
    await all(scheduler, large)
    expectOwn([...large, small!])
  })

  test('a request is not preempted twice without progress: tenants that outgrow the pool finish', async () => {
    const { scheduler } = setup({ pages: 20, context: 320, passTokens: 16, prefixPages: 0, options: { stallMs: 0 } })
    const large = longAnswers(2, 230, 60, 'a')
    for (const request of large) scheduler.add(request)
    let others = 0
    const small: Request[] = []
    await scheduler.drive(() => {
      // One tenant never stops asking.
      if (small.filter(({ ended }) => ended === 0).length < 2 && others < 500) {
        const request = new Request(prompt(75, others++), 8, 'b')
        small.push(request)
        scheduler.add(request)
      }
      return large.every(({ ended }) => ended > 0)
    })
    expect(others).toBeLessThan(500)
    await all(scheduler, small)
    expectOwn([...large, ...small])
  })
})

describe('turns', () => {
  const of = (...tenants: string[]) => tenants.map((tenant, n) => ({ tenant, n }))
  const names = (some: { tenant: string; n: number }[]) => some.map(({ tenant, n }) => `${tenant}${n}`)

  test('keep the order of one tenant, and of equals', () => {
    expect(names(inTurns(of('a', 'a', 'a')))).toEqual(['a0', 'a1', 'a2'])
    expect(names(inTurns(of('a', 'a', 'b', 'a', 'b')))).toEqual(['a0', 'b2', 'a1', 'b4', 'a3'])
    expect(inTurns([])).toEqual([])
  })

  test('go to the tenant that passes have served least', () => {
    const standings = (tenant: string) => ({ work: tenant === 'a' ? 10 : 0, served: 0 })
    const queue = new TurnQueue(of('a', 'b', 'b'), standings)
    expect(queue.next()?.n).toBe(1)
    queue.charge(4)
    expect(queue.next()?.n).toBe(2)
    queue.charge(7)
    expect(queue.next()?.n).toBe(0)
    expect(queue.next()).toBeUndefined()
  })

  test('go, among equals, to a new tenant first, and then to the one that has waited longest', () => {
    const served: Record<string, number> = { a: 7, b: 3, c: -1 }
    const standings = (tenant: string) => ({ work: 5, served: served[tenant]! })
    expect(names(inTurns(of('a', 'b', 'c', 'a', 'b', 'c'), standings))).toEqual(['c2', 'b1', 'a0', 'c5', 'b4', 'a3'])
  })

  /**
   * Returns accounts, and a function that makes a plan: rows by tenant, and the tenants that could
   * have used more.
   */
  function accountsOf(mostDebt = 1000) {
    const accounts = new TenantAccounts(mostDebt)
    const plan = (rows: Readonly<Record<string, number>>, waiting: readonly string[] = Object.keys(rows)) => {
      accounts.beginPlan(new Set(Object.keys(rows)))
      for (const [tenant, count] of Object.entries(rows)) if (count > 0) accounts.charge(tenant, count)
      accounts.endPlan(new Set(waiting))
    }
    const ahead = (one: string, other: string) => accounts.standingOf(one).work - accounts.standingOf(other).work
    return { accounts, plan, ahead }
  }

  test('are not saved up by absence, by small requests, or by waiting for pages', () => {
    const { plan, ahead } = accountsOf()
    for (let n = 0; n < 50; n++) plan({ a: 100, b: 1 }, ['a'])
    expect(ahead('a', 'b')).toBe(0)
    for (let n = 0; n < 50; n++) plan({ a: 100 })
    plan({ a: 0, b: 0, c: 0 })
    expect([ahead('a', 'b'), ahead('a', 'c')]).toEqual([0, 0])
    // No tenant that waits is waiting for rows.
    for (let n = 0; n < 50; n++) plan({ a: 100, b: 0 }, [])
    expect(ahead('a', 'b')).toBe(0)
  })

  test('do not change for a tenant that leaves and returns', () => {
    const { accounts, plan, ahead } = accountsOf()
    plan({ a: 300, b: 0 })
    expect(ahead('a', 'b')).toBe(300)
    plan({ b: 40 })
    plan({ a: 0, b: 0 })
    expect(ahead('a', 'b')).toBe(260)
    // Service that others got since then no longer counts as a debt.
    for (let n = 0; n < 10; n++) plan({ b: 40 })
    plan({ a: 0, b: 0 })
    expect(ahead('a', 'b')).toBe(0)
    expect(accounts.standingOf('a').served).toBeLessThan(accounts.standingOf('b').served)
    // When a tenant that had more returns, neither counts as having had less than the other.
    for (let n = 0; n < 3; n++) {
      plan({ a: 100, b: 100 })
      plan({ b: 100 })
      plan({ a: 100, b: 0 })
      expect(ahead('a', 'b')).toBeGreaterThanOrEqual(0)
    }
  })

  test('delay no tenant for longer than the largest debt', () => {
    const { plan, ahead } = accountsOf(500)
    for (let n = 0; n < 50; n++) plan({ a: 100, b: 0 })
    plan({ a: 0, b: 0 })
    expect(ahead('a', 'b')).toBe(500)
  })

  test('of tenants without requests are dropped after some plans, or when there are many', () => {
    const { accounts, plan } = accountsOf()
    for (let n = 0; n < 2000; n++) plan({ [`tenant ${n}`]: 10 })
    expect(accounts.tenants).toBeLessThanOrEqual(258)
    plan(Object.fromEntries(Array.from({ length: 2000 }, (_, n) => [`other ${n}`, 1])))
    for (let n = 0; n < 300; n++) plan({ a: 10 })
    expect(accounts.tenants).toBe(1)
  })
})
