/**
 * Tests what requests do from inside their callbacks: a planned pass does not change, and each
 * request is responsible for its own errors only.
 */
import { getEventListeners } from 'node:events'
import { describe, expect, test, vi } from 'vitest'
import { ForetokenError } from '../../src/base/errors.ts'
import type { Predicting } from '../../src/decode/scheduler.ts'
import type { Sequence } from '../../src/kv/sequence.ts'
import { answerAlone } from '../helpers/fake-model.ts'
import { all, type Hook, prompt, Request, setup, turns } from '../helpers/scheduled.ts'

const hooks: Hook[] = ['onAdmit', 'onBegin', 'onPrefill', 'chooseTokens', 'end']

/** Calls `act` at the `nth` call of a hook. */
function at(request: Request, hook: Hook, nth: number, act: () => void): void {
  let calls = 0
  request.inside = (called) => {
    if (called === hook && ++calls === nth) act()
  }
}

/** Expects the request's own tokens, and all of them unless it failed. */
function expectOwn(request: Request): void {
  expect(request.ended).toBe(1)
  const alone = answerAlone(request.ids, request.most)
  expect(request.answer).toEqual(request.error ? alone.slice(0, request.answer.length) : alone)
}

describe('callbacks that run inside a pass of several requests', () => {
  const three = () => [7, 9, 10].map((length, seed) => new Request(prompt(length, seed), 6))

  test('each request used here gives six tokens alone', () => {
    for (const { ids, most } of three()) expect(answerAlone(ids, most)).toHaveLength(6)
  })

  test.each(hooks)('each request gets its own tokens when another cancels or throws in %s', async (hook) => {
    for (const deed of ['cancel', 'throw'] as const)
      for (const nth of [1, 2, 3])
        for (const actor of [0, 1, 2])
          for (const victim of [0, 1, 2]) {
            const { scheduler, cache, prefixes } = setup({ options: { order: 'pack' } })
            const requests = three()
            const thrown = new Error('out of its own code')
            let done = false
            at(requests[actor]!, hook, nth, () => {
              done = true
              if (deed === 'throw') throw thrown
              requests[victim]!.controller.abort('enough')
            })
            for (const request of requests) scheduler.add(request)
            await all(scheduler, requests)
            requests.forEach((request, index) => {
              expectOwn(request)
              const hit = done && hook !== 'end' && index === (deed === 'throw' ? actor : victim)
              if (!hit && hook !== 'end') expect(request.error).toBeUndefined()
              if (hit && deed === 'throw') expect(request.error?.cause).toBe(thrown)
              if (hit && deed === 'cancel') expect(request.error).toMatchObject({ code: 'aborted', cause: 'enough' })
              expect(getEventListeners(request.signal, 'abort')).toHaveLength(0)
            })
            prefixes.clear()
            expect(cache.pagesInUse).toBe(0)
          }
  })

  test.each(hooks)('a thrown value that has no message fails only its request in %s', async (hook) => {
    for (const thrown of [Object.create(null), undefined, null, new Proxy({}, { get: () => expect.fail() })]) {
      const { scheduler, cache, prefixes } = setup({ options: { order: 'pack' } })
      const requests = three()
      at(requests[1]!, hook, 1, () => {
        throw thrown
      })
      for (const request of requests) scheduler.add(request)
      await all(scheduler, requests)
      requests.forEach((request, index) => {
        expectOwn(request)
        const fails = index === 1 && hook !== 'end'
        expect(request.error?.code).toBe(fails ? 'internal' : undefined)
      })
      prefixes.clear()
      expect(cache.pagesInUse).toBe(0)
    }
  })

  test("a request cancelled by another one's `onPrefill` gets no further callbacks, and the pass runs as planned", async () => {
    const { scheduler, model } = setup({ options: { order: 'pack' } })
    const [first, second, third] = three()
    const rows: number[] = []
    model.onPass = ({ outputs }) => rows.push(outputs.length)
    at(first!, 'onPrefill', 1, () => second!.controller.abort())
    for (const request of [first!, second!, third!]) scheduler.add(request)
    await scheduler.drive(turns(1))
    expect(rows).toEqual([3])
    expect([second!.answer, second!.progress, second!.ended]).toEqual([[], [], 1])
    await all(scheduler, [first!, third!])
    expectOwn(first!)
    expectOwn(third!)
  })

  test('requests submitted from inside a pass join the next one', async () => {
    const { scheduler } = setup({ options: { order: 'pack' } })
    const requests = three()
    const late = hooks.map((_, seed) => new Request(prompt(9, seed + 20), 4))
    hooks.forEach((hook, index) => {
      const request = requests[index % 3]!
      const before = request.inside
      let asked = false
      request.inside = (called) => {
        before(called)
        if (called === hook && !asked) scheduler.add(late[index]!)
        asked ||= called === hook
      }
    })
    for (const request of requests) scheduler.add(request)
    await all(scheduler, [...requests, ...late])
    for (const request of [...requests, ...late]) expectOwn(request)
  })

  test('a pass keeps its pages when a session reserves all others from inside it', async () => {
    for (const hook of hooks) {
      const { scheduler, cache, prefixes } = setup({ pages: 8, context: 64, options: { order: 'pack' } })
      const requests = three()
      const sessions: Sequence[] = []
      at(requests[0]!, hook, 1, () => {
        for (; cache.pagesFree > 0; sessions.push(cache.open())) sessions.at(-1)?.extend(16, 0)
      })
      for (const request of requests) scheduler.add(request)
      await all(scheduler, requests)
      for (const request of requests) expect(request.error).toBeUndefined()
      for (const request of requests) expectOwn(request)
      for (const session of sessions) session.release()
      prefixes.clear()
      expect(cache.pagesInUse).toBe(0)
    }
  })

  test('slow sampling spans several host turns, and events between them do not change the pass', async () => {
    let now = 0
    vi.spyOn(performance, 'now').mockImplementation(() => now)
    try {
      const { scheduler } = setup({ options: { order: 'pack' } })
      const requests = three()
      const turnsAtToken: number[] = []
      let turn = 0
      let ticking = true
      const tick = () => {
        turn++
        // Between two rows of the first pass a request leaves that has not been served yet.
        if (turnsAtToken.length === 1) requests[2]!.controller.abort('enough')
        if (ticking) setImmediate(tick)
      }
      for (const request of requests) {
        request.inside = (hook) => {
          if (hook !== 'chooseTokens') return
          turnsAtToken.push(turn)
          now += 10
        }
        scheduler.add(request)
      }
      setImmediate(tick)
      await all(scheduler, requests)
      ticking = false
      for (let at = 1; at < turnsAtToken.length; at++) expect(turnsAtToken[at]).toBeGreaterThan(turnsAtToken[at - 1]!)
      expect(requests[2]!.answer).toEqual([])
      for (const request of requests) expectOwn(request)
    } finally {
      vi.restoreAllMocks()
    }
  })

  test('closing the engine from inside a pass aborts every request once and accepts no more', async () => {
    for (const hook of hooks) {
      const { scheduler, model, cache, prefixes } = setup({ options: { order: 'pack', maxRunning: 2 } })
      const requests = three()
      let computing = false
      model.onPass = async () => {
        computing = true
        await new Promise((resolve) => setImmediate(resolve))
        computing = false
      }
      let closing: Promise<void> | undefined
      at(requests[0]!, hook, 1, () => {
        closing = scheduler.close().then(() => expect(computing).toBe(false))
      })
      for (const request of requests) scheduler.add(request)
      await all(scheduler, requests)
      await closing
      for (const request of requests) expectOwn(request)
      const cut = requests.slice(hook === 'end' ? 2 : 1)
      for (const request of cut) expect(request.error).toMatchObject({ code: 'aborted' })
      expect(() => scheduler.add(new Request(prompt(3)))).toThrow(expect.objectContaining({ code: 'aborted' }))
      prefixes.clear()
      expect(cache.pagesInUse).toBe(0)
    }
  })
})

describe('a preempted request', () => {
  /**
   * Sets up a shortage: `late` has read a part of its prompt when a session takes the remaining
   * pages, and `early`, which streams, needs one.
   */
  async function contended(act: (late: Request) => void) {
    const made = setup({ pages: 12, passTokens: 16, prefixPages: 0 })
    const { scheduler, cache } = made
    const seed = Array.from({ length: 50 }, (_, n) => n).find((n) => answerAlone(prompt(20, n), 60).length === 60)!
    const early = new Request(prompt(20, seed), 60)
    const late = new Request(prompt(100, 2), 4)
    late.inside = (hook) => {
      if (hook === 'onPrefill' && late.admissions === 2) act(late)
    }
    scheduler.add(early)
    await scheduler.drive(() => early.answer.length > 2)
    scheduler.add(late)
    await scheduler.drive(() => late.progress.length > 1)
    const session = cache.open()
    session.extend(16 * cache.pagesFree, 0)
    await scheduler.drive(() => scheduler.stats.preemptions > 0)
    session.release()
    await all(scheduler, [early, late])
    expect(late.admissions).toBe(2)
    expectOwn(early)
    expect(early.error).toBeUndefined()
    expectOwn(late)
    return { ...made, late }
  }

  test('frees its pages when it cancels itself on readmission', async () => {
    const { cache, late } = await contended(({ controller }) => controller.abort())
    expect(late.error).toMatchObject({ code: 'aborted' })
    expect(cache.pagesInUse).toBe(0)
  })

  test('fails alone when it throws on readmission', async () => {
    const thrown = new Error('a broken progress bar')
    const { cache, late } = await contended(() => {
      throw thrown
    })
    expect(late.error?.cause).toBe(thrown)
    expect(cache.pagesInUse).toBe(0)
  })
})

describe('a failure while a pass is planned', () => {
  const others = () => [new Request(prompt(10, 1), 5), new Request(prompt(12, 2), 5)]

  test('a prediction that cannot begin fails its own request', async () => {
    const predicting: Predicting = {
      rowCost: { predicted: 1, refined: 1 },
      begin: (_, length) => {
        if (length === 33) throw new RangeError('Array buffer allocation failed')
        return false
      },
      chunks: (sequence, ids, outputs) => [{ sequence, ids, outputs }],
      doubts: () => false,
    }
    const { scheduler, cache, prefixes } = setup({ predicting, options: { order: 'pack' } })
    const bad = new Request(prompt(33), 5)
    const good = others()
    for (const request of [good[0]!, bad, good[1]!]) scheduler.add(request)
    await all(scheduler, [bad, ...good])
    expect(bad.error).toMatchObject({ code: 'internal', message: 'Array buffer allocation failed' })
    for (const request of good) expect(request.error).toBeUndefined()
    for (const request of good) expectOwn(request)
    prefixes.clear()
    expect(cache.pagesInUse).toBe(0)
  })

  test('memory that cannot grow fails only the request that needs it', async () => {
    const { scheduler, cache, prefixes } = setup({ options: { order: 'pack' }, prefixPages: 0 })
    const good = others()
    for (const request of good) scheduler.add(request)
    await scheduler.drive(() => good.every(({ answer }) => answer.length > 0))
    const refuse = () => {
      throw new ForetokenError('out_of_memory', 'the memory can not grow')
    }
    cache.pool.add = refuse
    const bad = new Request(prompt(70, 3), 5)
    scheduler.add(bad)
    await all(scheduler, [bad, ...good])
    expect(bad.error?.code).toMatch(/^out_of_(memory|pages)$/)
    for (const request of good) expect(request.error).toBeUndefined()
    for (const request of good) expectOwn(request)
    prefixes.clear()
    expect(cache.pagesInUse).toBe(0)
  })

  test('pages that cannot be kept for reuse do not fail a completed answer', async () => {
    const { scheduler, cache, prefixes } = setup({ options: { order: 'pack' } })
    const insert = prefixes.insert.bind(prefixes)
    const [odd, even] = others()
    prefixes.insert = (tenant, ids, pages) => {
      if (ids.length > 12 || odd!.answer.length === 5) throw new Error('a broken index')
      insert(tenant, ids, pages)
    }
    for (const request of [odd!, even!]) scheduler.add(request)
    await all(scheduler, [odd!, even!])
    for (const request of [odd!, even!]) expect(request.error).toBeUndefined()
    expect(scheduler.stats).toMatchObject({ running: 0, waiting: 0 })
    prefixes.clear()
    expect(cache.pagesInUse).toBe(0)
  })

  test("a prompt that does not fit beside the sessions' pages fails itself, not an earlier one that fits", async () => {
    const { scheduler, cache, prefixes } = setup({ pages: 12, prefixPages: 12, passTokens: 16 })
    const opening = prompt(96, 4)
    const first = new Request(opening, 1)
    scheduler.add(first)
    await all(scheduler, [first])
    // It came first, and fits; the other would overtake it, since the cache held most of it on
    // arrival.
    const small = new Request(prompt(60, 7), 2)
    const large = new Request([...opening, 5, 6], 2)
    scheduler.add(small)
    scheduler.add(large)
    prefixes.clear()
    const session = cache.open()
    session.extend(16 * 7, 0)
    await all(scheduler, [small, large])
    expect(small.error).toBeUndefined()
    expectOwn(small)
    expect(large.error).toMatchObject({ code: 'out_of_pages' })
    session.release()
  })
})
