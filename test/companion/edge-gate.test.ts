/** Turns at a companion are bounded and fair by edge, and skip requests that have left. */

import { describe, expect, test } from 'vitest'
import { createEdgeGate } from '../../companion/edge-gate.ts'
import { Pace } from '../../companion/pace.ts'
import { Rate } from '../../companion/rate.ts'
import { type Gate, Shares } from '../../src/index.ts'
import fc from '../helpers/properties.ts'

const never = new AbortController().signal
/** Lets every request that may proceed do so. */
const settle = () => new Promise((resolve) => setImmediate(resolve))

function entering(turns: Gate, edge: string, log: string[], signal = never) {
  const entered = turns.enter({ tenant: edge, signal }).then((leave) => {
    log.push(edge)
    return leave
  })
  entered.catch(() => {})
  return entered
}

describe('turns', () => {
  test('alternate between edges, however many requests of one wait', async () => {
    const turns = createEdgeGate({ running: 1, waitingPerEdge: 16 })
    const log: string[] = []
    const all = [entering(turns, 'a', log)]
    for (const edge of ['a', 'a', 'a', 'a', 'b', 'c']) all.push(entering(turns, edge, log))
    for (const entered of [0, 1, 5, 6, 2, 3, 4]) (await all[entered]!)()
    expect(log).toEqual(['a', 'a', 'b', 'c', 'a', 'a', 'a'])
    expect([turns.running, turns.waiting]).toEqual([0, 0])
  })

  test("a request beyond an edge's waiting limit is refused, for that edge only", async () => {
    const turns = createEdgeGate({ running: 1, waitingPerEdge: 2 })
    const log: string[] = []
    const leave = await entering(turns, 'a', log)
    entering(turns, 'a', log)
    entering(turns, 'a', log)
    await expect(turns.enter({ tenant: 'a', signal: never })).rejects.toMatchObject({ status: 503 })
    entering(turns, 'b', log)
    expect(turns.waiting).toBe(3)
    leave()
    leave()
    await settle()
    // Giving a turn back twice gives one back.
    expect([turns.running, turns.waiting]).toEqual([1, 2])
  })

  test('a request that leaves while waiting is skipped', async () => {
    const turns = createEdgeGate({ running: 1, waitingPerEdge: 4 })
    const log: string[] = []
    const leave = await entering(turns, 'a', log)
    const control = new AbortController()
    const gone = entering(turns, 'b', log, control.signal)
    const next = entering(turns, 'c', log)
    control.abort(new Error('gone'))
    await expect(gone).rejects.toThrow('gone')
    leave()
    await next
    expect(log).toEqual(['a', 'c'])
    await expect(turns.enter({ tenant: 'd', signal: AbortSignal.abort(new Error('late')) })).rejects.toThrow('late')
  })

  test('no more run than the limit and none is lost, in any sequence', async () => {
    const steps = fc.array(
      fc.oneof(
        fc.record({ kind: fc.constant('take' as const), edge: fc.constantFrom('a', 'b', 'c') }),
        fc.record({ kind: fc.constant('leave' as const), which: fc.nat(20) }),
        fc.record({ kind: fc.constant('abort' as const), which: fc.nat(20) }),
      ),
      { maxLength: 40 },
    )
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 3 }), steps, async (running, all) => {
        const turns = createEdgeGate({ running, waitingPerEdge: 3 })
        const inside: (() => void)[] = []
        const controls: AbortController[] = []
        for (const step of all) {
          if (step.kind === 'take') {
            const control = new AbortController()
            controls.push(control)
            turns.enter({ tenant: step.edge, signal: control.signal }).then(
              (leave) => inside.push(leave),
              () => {},
            )
          } else if (step.kind === 'leave') inside.splice(step.which % (inside.length || 1), 1)[0]?.()
          else controls[step.which % (controls.length || 1)]?.abort()
          await settle()
          expect(inside.length).toBe(turns.running)
          expect(turns.running).toBeLessThanOrEqual(running)
          // A slot is free only where nothing waits.
          if (turns.running < running) expect(turns.waiting).toBe(0)
        }
        while (inside.length > 0) {
          inside.pop()!()
          await settle()
        }
        expect([turns.running, turns.waiting]).toEqual([0, 0])
      }),
      { numRuns: 60 },
    )
  })
})

describe('where several edges may connect', () => {
  const limits = { running: 8, waitingPerEdge: 16 }

  test('a greedy one leaves turns for later ones, and gets more as they are returned', async () => {
    const turns = createEdgeGate(limits, true)
    const log: string[] = []
    const all = new Map<string, (() => void)[]>()
    const ask = (edge: string, count: number) => {
      for (let at = 0; at < count; at++)
        void entering(turns, edge, log).then((leave) => all.set(edge, [...(all.get(edge) ?? []), leave]))
    }
    ask('a', 10)
    await settle()
    expect(all.get('a')).toHaveLength(4)
    for (const edge of ['b', 'c', 'd']) ask(edge, 5)
    await settle()
    expect([...all].map(([edge, { length }]) => [edge, length])).toEqual([
      ['a', 4],
      ['b', 2],
      ['c', 1],
      ['d', 1],
    ])
    expect(turns.running).toBe(8)
    // The edge with the fewest turns gets the next free one.
    for (const leave of all.get('a')!.splice(0)) leave()
    await settle()
    expect(all.get('d')!.length).toBeGreaterThan(1)
    for (let given = 1; given > 0; ) {
      given = 0
      for (const leaves of all.values())
        for (const leave of leaves.splice(0)) {
          leave()
          given++
        }
      await settle()
    }
    expect([turns.running, turns.waiting, log.length]).toEqual([0, 0, 25])
  })

  test('a single edge may hold every turn', async () => {
    const turns = createEdgeGate(limits)
    for (let at = 0; at < 8; at++) await turns.enter({ tenant: 'a', signal: never })
    expect(turns.running).toBe(8)
  })

  test('there is always a turn for some edge, and none is lost', async () => {
    const steps = fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c', 'd'), fc.boolean(), fc.nat(20)), { maxLength: 60 })
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 5 }), steps, async (running, all) => {
        const turns = createEdgeGate({ running, waitingPerEdge: 50 }, true)
        const inside: (() => void)[] = []
        for (const [edge, enters, which] of all) {
          if (enters) void turns.enter({ tenant: edge, signal: never }).then((leave) => inside.push(leave))
          else inside.splice(which % (inside.length || 1), 1)[0]?.()
          await settle()
          expect(inside.length).toBe(turns.running)
          expect(turns.running).toBeLessThanOrEqual(running)
          if (turns.waiting > 0) expect(turns.running).toBeGreaterThanOrEqual(running / 2)
        }
        while (inside.length > 0) {
          inside.pop()!()
          await settle()
        }
        expect([turns.running, turns.waiting]).toEqual([0, 0])
      }),
      { numRuns: 60 },
    )
  })
})

test('shares count amounts of any size, and a double release counts once', () => {
  const shares = new Shares(100, 'past-half')
  const give = shares.take('a', 40)
  expect([shares.fits('a', 20), shares.fits('a', 21), shares.fits('b', 60), shares.fits('b', 61)]).toEqual([
    true,
    false,
    true,
    false,
  ])
  give()
  give()
  expect(shares.used).toBe(0)
})

test("a rate admits a minute's share at once, and then refills, for each edge", () => {
  const rate = new Rate(60)
  const counts = Array.from({ length: 61 }, () => rate.count('a', 0))
  expect(counts.filter((wait) => wait === 0)).toHaveLength(60)
  expect(counts.at(-1)).toBe(1)
  expect([rate.count('b', 0), rate.count('a', 999), rate.count('a', 1001)]).toEqual([0, expect.any(Number), 0])
  expect(rate.count('a', 1002)).toBeGreaterThan(0)
})

test('the pace is measured for prompts of a given length, and follows changes', () => {
  const pace = new Pace()
  pace.learn(100, 15)
  pace.learn(0, 100)
  expect(pace.msPerToken).toBeUndefined()
  pace.learn(200, 100)
  expect(pace.msPerToken).toBe(2)
  for (let at = 0; at < 30; at++) pace.learn(800, 100)
  expect(pace.msPerToken).toBeCloseTo(8, 1)
})
