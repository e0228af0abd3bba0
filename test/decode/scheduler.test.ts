import { describe, expect, test } from 'vitest'
import type { ForetokenError } from '../../src/base/errors.ts'
import { pageTokens } from '../../src/base/kv.ts'
import { answerAlone, stateOf } from '../helpers/fake-model.ts'
import fc from '../helpers/properties.ts'
import { prompt, Request, setup, turns } from '../helpers/scheduled.ts'

describe('Scheduler', () => {
  test('requests that share passes get the same answers as alone', async () => {
    const { scheduler, cache } = setup()
    const requests = [1, 5, 40, 100, 17, 16, 32].map((length, seed) => new Request(prompt(length, seed), 12))
    for (const request of requests) scheduler.add(request)
    await scheduler.drive(() => requests.every(({ ended }) => ended > 0))
    for (const request of requests) {
      expect(request.answer).toEqual(answerAlone(request.ids, 12))
      expect(request.error).toBeUndefined()
    }
    expect(cache.pagesInUse).toBe(scheduler.stats.prefix_pages)
  })

  test('prompts and decode steps share passes', async () => {
    const { scheduler, model } = setup({ passTokens: 24 })
    const kinds = new Set<string>()
    model.onPass = ({ segments }) => {
      const steps = segments.filter(({ length, past }) => length === 1 && past > 0).length
      kinds.add(`${steps > 0 ? 'decode' : ''}${segments.length > steps ? 'prefill' : ''}`)
      expect(segments.reduce((sum, { length }) => sum + length, 0)).toBeLessThanOrEqual(24)
    }
    const requests = [3, 90, 60].map((length, seed) => new Request(prompt(length, seed), 20))
    for (const request of requests) scheduler.add(request)
    await scheduler.drive(() => requests.every(({ ended }) => ended > 0))
    expect(kinds).toContain('decodeprefill')
  })

  test('of each row a pass reads as many top logits as its request asks for, whatever others read', async () => {
    const { scheduler, model } = setup({ longestShortlist: 20 })
    const ask = async (...bests: number[]) => {
      const requests = bests.map((best, seed) => new Request(prompt(9 + seed, seed), 4, `${bests}`, best))
      for (const request of requests) scheduler.add(request)
      await scheduler.drive(() => requests.every(({ ended }) => ended > 0))
      for (const request of requests) expect(request.answer).toEqual(answerAlone(request.ids, 4))
      const rows = model.asked.splice(0).flat()
      // One row for each token of each answer; an answer may end before its limit.
      const counts = bests.map((best) => rows.filter((asked) => asked === best).length)
      expect(counts).toEqual(requests.map(({ answer }) => answer.length))
      expect(rows).toHaveLength(counts.reduce((sum, count) => sum + count, 0))
    }
    await ask(1)
    await ask(1, 20)
    await ask(21, 1)
    await ask(Number.POSITIVE_INFINITY, 3)
  })

  test('the shortest prompt is answered first; ties go by arrival', async () => {
    for (const order of ['shortest', 'arrival'] as const) {
      const { scheduler } = setup({ options: { order, fullRows: 1 } })
      const long = new Request(prompt(200), 1)
      const short = new Request(prompt(10), 1)
      scheduler.add(long)
      scheduler.add(short)
      await scheduler.drive(() => long.ended + short.ended > 0)
      expect(short.ended).toBe(order === 'shortest' ? 1 : 0)
    }
  })

  test('a long prompt is read in chunks: a short one that arrives meanwhile waits for one chunk', async () => {
    for (const order of ['shortest', 'pack', 'arrival'] as const) {
      const { scheduler, model } = setup({ passTokens: 32, options: { order, chunk: 8 } })
      const rows: number[] = []
      model.onPass = ({ ids }) => rows.push(ids.length)
      const long = new Request(prompt(100), 1)
      scheduler.add(long)
      await scheduler.drive(() => rows.length > 0)
      expect(rows).toEqual([order === 'shortest' ? 8 : 32])
      const short = new Request(prompt(5, 2), 1)
      scheduler.add(short)
      await scheduler.drive(() => short.ended + long.ended > 0)
      if (order === 'shortest') expect([short.ended, rows.length]).toEqual([1, 2])
    }
  })

  test('a long prompt is not starved by a stream of short ones', async () => {
    const { scheduler } = setup({ passTokens: 16, options: { aging: 1000, fullRows: 1 } })
    const long = new Request(prompt(100), 1)
    scheduler.add(long)
    let shorts = 0
    await scheduler.drive(() => {
      if (shorts++ < 1000 && long.ended === 0) scheduler.add(new Request(prompt(16, shorts), 1))
      return long.ended > 0
    })
    expect(shorts).toBeLessThan(100)
    expect(long.answer).toEqual(answerAlone(long.ids, 1))
  })

  test('streams continue while a long prompt is read, and the prompt advances meanwhile', async () => {
    const { scheduler } = setup({ passTokens: 24, options: { stallMs: 0 } })
    const streams = [1, 2, 3].map((seed) => new Request(prompt(4, seed), 60))
    for (const stream of streams) scheduler.add(stream)
    await scheduler.drive(() => streams.every(({ answer }) => answer.length > 0))
    const before = streams.map(({ answer }) => answer.length)
    const long = new Request(prompt(160), 2)
    scheduler.add(long)
    await scheduler.drive(() => long.answer.length > 0)
    streams.forEach(({ answer, ended }, i) => {
      expect(ended > 0 || answer.length > before[i]! + 4).toBe(true)
    })
  })

  test.each([1, 2, 3])('a pass of %i tokens is enough for every request', async (passTokens) => {
    const { scheduler } = setup({ passTokens })
    const requests = [1, 2, 30, 40].map((length, seed) => new Request(prompt(length, seed), 10))
    for (const request of requests) scheduler.add(request)
    await scheduler.drive(() => requests.every(({ ended }) => ended > 0))
    for (const request of requests) expect(request.answer).toEqual(answerAlone(request.ids, 10))
  })

  test('a cached prefix is not recomputed, and never covers the whole prompt', async () => {
    const { scheduler } = setup()
    const first = new Request(prompt(64), 1)
    scheduler.add(first)
    await scheduler.drive(() => first.ended > 0)
    const again = new Request(prompt(64), 1)
    const longer = new Request([...prompt(64), 5, 6, 7], 1)
    const other = new Request(prompt(64), 1, 'somebody else')
    for (const request of [again, longer, other]) scheduler.add(request)
    await scheduler.drive(() => again.ended + longer.ended + other.ended === 3)
    expect(again.progress[0]).toBe(48)
    expect(longer.progress[0]).toBe(64)
    expect(other.progress[0]).toBe(0)
    expect(scheduler.stats.cached_tokens).toBe(112)
    for (const request of [again, longer, other]) expect(request.answer).toEqual(answerAlone(request.ids, 1))
  })

  test('the next turn finds the previous prompt and answer in the cache', async () => {
    const { scheduler } = setup()
    const first = new Request(prompt(30, 3), 40)
    scheduler.add(first)
    await scheduler.drive(() => first.ended > 0)
    const turn = [...first.ids, ...first.answer, 9, 9]
    const second = new Request(turn, 2)
    scheduler.add(second)
    await scheduler.drive(() => second.ended > 0)
    expect(second.progress[0]).toBe(Math.floor((first.ids.length + first.answer.length - 1) / pageTokens) * pageTokens)
    expect(second.answer).toEqual(answerAlone(turn, 2))
  })

  test('cancelling frees pages at once and does not affect other requests', async () => {
    const { scheduler, cache } = setup({ prefixPages: 0 })
    const [waiting, half, streaming, other] = [200, 150, 4, 20].map((n, seed) => new Request(prompt(n, seed + 5), 30))
    scheduler.add(streaming!)
    await scheduler.drive(() => streaming!.answer.length > 1)
    scheduler.add(half!)
    await scheduler.drive(() => half!.progress.length > 1)
    scheduler.add(waiting!)
    scheduler.add(other!)
    for (const request of [waiting!, half!, streaming!]) request.controller.abort('enough')
    expect(cache.pagesInUse).toBe(0)
    for (const request of [waiting!, half!, streaming!]) {
      expect(request.error).toMatchObject({ code: 'aborted', cause: 'enough' })
      expect(request.ended).toBe(1)
    }
    await scheduler.drive(() => other!.ended > 0)
    expect(other!.answer).toEqual(answerAlone(other!.ids, 30))
  })

  test('a request can be cancelled in the middle of a pass, and before admission', async () => {
    const { scheduler, model, cache } = setup({ prefixPages: 0 })
    const request = new Request(prompt(20), 30)
    model.onPass = () => request.controller.abort()
    scheduler.add(request)
    await scheduler.drive(() => request.ended > 0)
    expect(request.error).toMatchObject({ code: 'aborted' })
    expect(request.answer).toEqual([])
    const late = new Request(prompt(20), 30)
    late.controller.abort()
    scheduler.add(late)
    expect(late.error).toMatchObject({ code: 'aborted' })
    expect(cache.pagesInUse).toBe(0)
  })

  test('when pages run out the last request to arrive is recomputed later, and the answers are the same', async () => {
    const { scheduler } = setup({ pages: 8, prefixPages: 8 })
    const requests = [1, 2, 3].map((seed) => new Request(prompt(20, seed), 70))
    for (const request of requests) scheduler.add(request)
    await scheduler.drive(() => requests.every(({ ended }) => ended > 0))
    for (const request of requests) expect(request.answer).toEqual(answerAlone(request.ids, 70))
  })

  test('prompts that each hold pages the other needs do not deadlock', async () => {
    const { scheduler, model } = setup({ pages: 8, passTokens: 16, options: { maxRunning: 8 } })
    const requests = [1, 2].map((seed) => new Request(prompt(120, seed), 4))
    for (const request of requests) scheduler.add(request)
    model.onPass = () => {}
    await scheduler.drive(() => requests.every(({ ended }) => ended > 0))
    for (const request of requests) expect(request.answer).toEqual(answerAlone(request.ids, 4))
  })

  test('pages held outside the scheduler are reported, not waited for', async () => {
    const { scheduler, cache } = setup({ pages: 8 })
    const session = cache.open()
    session.extend(100, 0)
    const request = new Request(prompt(100), 4)
    scheduler.add(request)
    await scheduler.drive(() => request.ended > 0)
    expect(request.error).toMatchObject({ code: 'out_of_pages', message: expect.stringContaining('kvTokens') })
    session.release()
    expect(cache.pagesInUse).toBe(0)
  })

  test('requests that can never run, or that exceed a limit, are refused', () => {
    const { scheduler } = setup({ context: 100, options: { maxRunning: 1, maxWaiting: 1 } })
    const add = (ids: number[]) => () => scheduler.add(new Request(ids))
    expect(add([])).toThrow(expect.objectContaining({ code: 'empty_prompt' }))
    expect(add([1, 61])).toThrow(expect.objectContaining({ code: 'bad_argument' }))
    expect(add([1.5])).toThrow(expect.objectContaining({ code: 'bad_argument' }))
    expect(add(prompt(101))).toThrow(expect.objectContaining({ code: 'context_exceeded' }))
    add([1])()
    add([2])()
    expect(add([3])).toThrow(expect.objectContaining({ code: 'busy', message: expect.stringContaining('2 requests') }))
  })

  test('a failing pass fails only the requests in it, and the next pass works', async () => {
    const { scheduler, model, cache } = setup({ prefixPages: 0 })
    const [unlucky, lucky] = [new Request(prompt(10)), new Request(prompt(12))]
    model.onPass = () => {
      throw new Error('a thread died')
    }
    scheduler.add(unlucky!)
    await scheduler.drive(() => unlucky!.ended > 0)
    expect(unlucky!.error).toMatchObject({ code: 'internal', message: 'a thread died' })
    model.onPass = () => {}
    scheduler.add(lucky!)
    await scheduler.drive(() => lucky!.ended > 0)
    expect(lucky!.answer).toEqual(answerAlone(lucky!.ids, 8))
    expect(cache.pagesInUse).toBe(0)
  })

  test('a callback that throws fails only its own request', async () => {
    const { scheduler } = setup()
    const [bad, good] = [new Request(prompt(10)), new Request(prompt(12))]
    bad!.chooseTokens = () => {
      throw new Error('not a number')
    }
    scheduler.add(bad!)
    scheduler.add(good!)
    await scheduler.drive(() => bad!.ended + good!.ended === 2)
    expect(bad!.error).toMatchObject({ code: 'internal' })
    expect(good!.answer).toEqual(answerAlone(good!.ids, 8))
  })

  test('the host gets a turn before every pass, however many callers drive the scheduler', async () => {
    const { scheduler, model } = setup({ passTokens: 4 })
    let turns = 0
    let passes = 0
    let ticking = true
    const tick = () => {
      turns++
      if (ticking) setImmediate(tick)
    }
    setImmediate(tick)
    model.onPass = () => {
      passes++
      expect(passes).toBeLessThanOrEqual(turns + 1)
    }
    const requests = [1, 2, 3, 4, 5].map((seed) => new Request(prompt(40, seed), 20))
    for (const request of requests) scheduler.add(request)
    await Promise.all(requests.map((request) => scheduler.drive(() => request.ended > 0)))
    ticking = false
    expect(passes).toBeGreaterThan(40)
    for (const request of requests) expect(request.answer).toEqual(answerAlone(request.ids, 20))
  })
})

/** Returns the states that a job reads when it runs alone. */
function statesAlone({ ids, states }: Request): number[][] {
  const all = ids.map((_, position) => stateOf(ids.slice(0, position + 1)))
  return states!.rows === 'all' ? all : states!.rows === 'first' ? all.slice(0, 1) : all.slice(-1)
}

describe('any schedule', () => {
  const step = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant('add' as const),
        /** Prompts share beginnings: a prefix of one of three texts, then tokens of their own. */
        text: fc.integer({ min: 0, max: 2 }),
        shared: fc.integer({ min: 0, max: 70 }),
        own: fc.array(fc.integer({ min: 0, max: 60 }), { maxLength: 12 }),
        most: fc.integer({ min: 1, max: 40 }),
        tenant: fc.constantFrom('', 'a'),
        reads: fc.constantFrom(undefined, undefined, undefined, 'first' as const, 'last' as const, 'all' as const),
      }),
    },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('cancel' as const), which: fc.nat(40) }) },
    { weight: 6, arbitrary: fc.record({ kind: fc.constant('pass' as const), count: fc.integer({ min: 1, max: 4 }) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('evict' as const), count: fc.nat(4) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('midpass' as const), which: fc.nat(40) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('break' as const) }) },
  )
  const world = fc.record({
    pages: fc.integer({ min: 7, max: 24 }),
    passTokens: fc.constantFrom(1, 5, 16, 33),
    prefixPages: fc.integer({ min: 0, max: 12 }),
    order: fc.constantFrom('shortest' as const, 'pack' as const, 'arrival' as const),
    maxRunning: fc.constantFrom(1, 3, 64),
    maxWaiting: fc.constantFrom(0, 2, 64),
    stallMs: fc.constantFrom(0, 100),
  })

  test('keeps pages accounted for, ends every request once, and gives each the answer it gets alone', async () => {
    await fc.assert(
      fc.asyncProperty(world, fc.array(step, { maxLength: 60 }), async (made, steps) => {
        const { order, maxRunning, maxWaiting, stallMs, ...sizes } = made
        const options = { order, maxRunning, maxWaiting, stallMs }
        const { scheduler, model, cache, prefixes } = setup({ ...sizes, context: 112, options })
        const requests: Request[] = []
        const broken = new Set<Request>()
        const accounts = () => {
          const { pages_in_use, prefix_pages, running, waiting } = scheduler.stats
          expect(pages_in_use).toBeLessThanOrEqual(cache.maxPages)
          expect(prefix_pages).toBeLessThanOrEqual(pages_in_use)
          const open = requests.filter(({ ended }) => ended === 0).length
          expect(running + waiting).toBe(open)
          if (running === 0) expect(pages_in_use).toBe(prefix_pages)
          if (running === 0) expect(prefix_pages).toBeLessThanOrEqual(Math.max(0, sizes.prefixPages))
        }
        for (const action of steps) {
          if (action.kind === 'add') {
            const ids = [...prompt(action.shared, action.text), ...action.own]
            const request = new Request(ids, Math.min(action.most, 112 - ids.length), action.tenant)
            if (action.reads) request.reading(action.reads)
            try {
              scheduler.add(request)
              requests.push(request)
            } catch (error) {
              const { code } = error as ForetokenError
              expect(code).toBe(ids.length === 0 ? 'empty_prompt' : 'busy')
              if (code === 'busy')
                expect(requests.filter(({ ended }) => ended === 0).length).toBe(maxRunning + maxWaiting)
            }
          } else if (action.kind === 'cancel') requests[action.which]?.controller.abort()
          else if (action.kind === 'midpass') {
            const victim = requests[action.which]
            model.onPass = () => victim?.controller.abort()
            await scheduler.drive(turns(1))
            model.onPass = () => {}
          } else if (action.kind === 'break') {
            const before = new Set(requests.filter(({ ended }) => ended > 0))
            model.onPass = () => {
              throw new Error('broken')
            }
            await scheduler.drive(turns(1))
            model.onPass = () => {}
            for (const request of requests) if (request.ended > 0 && !before.has(request)) broken.add(request)
          } else if (action.kind === 'evict') prefixes.evict(action.count)
          else await scheduler.drive(turns(action.count))
          accounts()
        }
        let passes = 0
        await scheduler.drive(() => requests.every(({ ended }) => ended > 0) || passes++ > 20_000)
        accounts()
        for (const request of requests) {
          expect(request.ended).toBe(1)
          const alone = answerAlone(request.ids, request.most)
          if (broken.has(request)) continue
          if (request.error) expect(request.error.code).toBe('aborted')
          if (request.states) {
            expect(request.answer).toEqual([])
            if (!request.error) expect(request.read.filter(Boolean)).toEqual(statesAlone(request))
          } else if (request.error) expect(request.answer).toEqual(alone.slice(0, request.answer.length))
          else expect(request.answer).toEqual(alone)
        }
        prefixes.clear()
        expect(cache.pagesInUse).toBe(0)
      }),
      { numRuns: 400 },
    )
  })
})
