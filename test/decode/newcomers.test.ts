/**
 * Measures how long a tenant's request waits beside another's long prompts: in passes, rows, and
 * milliseconds of a simulated clock.
 */
import { afterEach, describe, expect, test, vi } from 'vitest'
import { answerAlone } from '../helpers/fake-model.ts'
import { all, prompt, Request, type Setup, setup } from '../helpers/scheduled.ts'

afterEach(() => vi.restoreAllMocks())

const passMs = 10
const perRow = 2

/**
 * Returns a scheduler whose passes take 10 ms plus 2 ms a row, so that 45 rows are within the stall
 * bound. `rows` holds those of each pass.
 */
function timed(given: Setup = {}) {
  let now = 0
  // Reading the clock takes a little time, so that the host's rests end.
  vi.spyOn(performance, 'now').mockImplementation(() => (now += 1 / 64))
  const { options, ...rest } = given
  const made = setup({
    ...{ pages: 2000, context: 2048, passTokens: 256, prefixPages: 0 },
    ...rest,
    options: { stallMs: 100, ...options },
  })
  const rows: number[] = []
  made.model.onPass = ({ ids }) => {
    rows.push(ids.length)
    now += passMs + perRow * ids.length
  }
  const passes = (count: number) => {
    const until = made.scheduler.stats.passes + count
    return made.scheduler.drive(() => made.scheduler.stats.passes >= until)
  }
  return { ...made, rows, passes, wait: (ms: number) => void (now += ms) }
}

const long = (count: number, tenant: string, length = 1800) =>
  Array.from({ length: count }, (_, seed) => new Request(prompt(length, seed), 4, tenant))

/**
 * Drives until the request has its first token; returns the number of passes that began meanwhile.
 */
async function passesUntilFirst({ scheduler }: ReturnType<typeof timed>, request: Request): Promise<number> {
  const before = scheduler.stats.passes
  await scheduler.drive(() => request.answer.length > 0 || request.ended > 0)
  return scheduler.stats.passes - before
}

describe('beside eight 1,800-token prompts of another tenant', () => {
  test('a new tenant gets its first token in the next pass, and again each time it returns', async () => {
    const made = timed()
    const { scheduler, rows, passes } = made
    const others = long(8, 'a')
    for (const request of others) scheduler.add(request)
    await passes(6)
    for (let n = 0; n < 12; n++) {
      const victim = new Request(prompt(30, 50 + n), 4, 'b')
      scheduler.add(victim)
      expect(await passesUntilFirst(made, victim)).toBe(1)
      // The rest of the pass are steps of the other tenant's answers.
      expect(rows.at(-1)).toBeLessThanOrEqual(38)
      await all(scheduler, [victim])
      expect(victim.answer).toEqual(answerAlone(victim.ids, 4))
      // It returns at another time of the other tenant's turns.
      await passes(n % 4)
    }
    expect(rows.length).toBeGreaterThan(20)
    await all(scheduler, others)
    for (const { ids, answer } of others) expect(answer).toEqual(answerAlone(ids, 4))
  })

  test('a pass has full size for one tenant, and is as short as the stall bound once another has been seen', async () => {
    const { scheduler, rows, passes } = timed()
    const others = long(8, 'a')
    for (const request of others) scheduler.add(request)
    await passes(8)
    // The option `chunk`; the first pass is larger than unknown costs would allow with several
    // tenants.
    expect(new Set(rows)).toEqual(new Set([128]))
    const victim = new Request(prompt(30, 50), 4, 'b')
    scheduler.add(victim)
    await all(scheduler, [victim])
    rows.length = 0
    await passes(40)
    expect(rows.length).toBeGreaterThan(10)
    for (const count of rows) expect(passMs + perRow * count).toBeLessThanOrEqual(101)
    // At least `fullRows`, which make a row cheap: that many remain at the end of a prompt.
    for (const count of rows) expect(count).toBeGreaterThanOrEqual(32)
    expect(Math.max(...rows)).toBeGreaterThanOrEqual(43)
    // After a long time the other tenant is forgotten.
    await scheduler.drive(() => rows.at(-1) === 128 || others.every(({ ended }) => ended > 0))
    expect(rows.length).toBeGreaterThan(200)
    expect(rows.at(-1)).toBe(128)
  })

  test('a new tenant with an equally long prompt gets every other row', async () => {
    const { scheduler, passes } = timed()
    const others = long(8, 'a')
    for (const request of others) scheduler.add(request)
    await passes(20)
    const done = () => others.reduce((sum, { progress }) => sum + (progress.at(-1) ?? 0), 0)
    const before = done()
    const [newcomer] = long(1, 'b')
    scheduler.add(newcomer!)
    await all(scheduler, [newcomer!])
    expect(done() - before).toBeGreaterThan(1600)
    expect(done() - before).toBeLessThan(2000)
  })

  test('a new tenant is admitted although more of the others wait for pages, and have waited longest', async () => {
    // Two of them fit, and answer; the others wait for a place.
    const made = timed({ pages: 256, context: 2048 })
    const { scheduler } = made
    const others: Request[] = []
    for (let seed = 0; others.length < 4; seed++) {
      const request = new Request(prompt(1850, seed), 60, 'a')
      if (answerAlone(request.ids, 60).length === 60) others.push(request)
    }
    for (const request of others) scheduler.add(request)
    await scheduler.drive(() => others.filter(({ answer }) => answer.length > 0).length === 2)
    expect(scheduler.stats).toMatchObject({ running: 2, waiting: 2 })
    for (let n = 0; n < 6; n++) {
      // After this wait the shortest prompt is no longer the cheapest.
      made.wait(60_000)
      const victim = new Request(prompt(30, 50 + n), 4, 'b')
      scheduler.add(victim)
      expect(await passesUntilFirst(made, victim)).toBeLessThanOrEqual(2)
      await all(scheduler, [victim])
      expect(victim.error).toBeUndefined()
    }
    await all(scheduler, others)
    for (const { ids, answer } of others) expect(answer).toEqual(answerAlone(ids, 60))
  })

  test("a prompt that needs more pages than are left is not overtaken forever by another tenant's short ones", async () => {
    const { scheduler, passes } = timed({ pages: 128, context: 2048 })
    const [large] = long(1, 'a', 2000)
    const small: Request[] = []
    const ask = () => scheduler.add(small[small.push(new Request(prompt(300, small.length), 20, 'b')) - 1]!)
    for (let n = 0; n < 6; n++) ask()
    await passes(10)
    scheduler.add(large!)
    await scheduler.drive(() => {
      while (small.filter(({ ended }) => ended === 0).length < 6) ask()
      return large!.ended > 0
    })
    expect(small.length).toBeLessThan(60)
    expect(large!.answer).toEqual(answerAlone(large!.ids, 4))
  })
})

describe('a tenant that leaves after each request and returns', () => {
  /**
   * Returns the prompt rows that `b` gets while `a`, which always waits, gets 6,000: with one
   * request at a time, or with all at once.
   */
  async function rowsOf(atOnce: number): Promise<number> {
    const { scheduler } = timed()
    const others = long(8, 'a')
    for (const request of others) scheduler.add(request)
    const own: Request[] = []
    const done = (some: readonly Request[]) => some.reduce((sum, { progress }) => sum + (progress.at(-1) ?? 0), 0)
    await scheduler.drive(() => {
      while (own.filter(({ ended }) => ended === 0).length < atOnce)
        scheduler.add(own[own.push(new Request(prompt(150, 100 + own.length), 1, 'b')) - 1]!)
      return done(others) >= 6000
    })
    return done(own)
  }

  test('gets no more than one that stays', async () => {
    const stays = await rowsOf(20)
    expect(stays).toBeGreaterThan(5000)
    expect(stays).toBeLessThan(6600)
    expect(await rowsOf(1)).toBeLessThanOrEqual(stays)
  })
})

test('turns are counted in rows: many short requests of one tenant get as many as one long request of another', async () => {
  const { scheduler } = timed()
  const short = Array.from({ length: 200 }, (_, seed) => new Request(prompt(40, seed), 1, 'a'))
  for (const request of short) scheduler.add(request)
  const [one] = long(1, 'b')
  scheduler.add(one!)
  await all(scheduler, [one!])
  const read = 40 * short.filter(({ ended }) => ended > 0).length
  expect(read).toBeGreaterThan(1500)
  expect(read).toBeLessThan(2300)
})
