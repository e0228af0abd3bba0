/** Tests how much of predicted caches is made exact beside streams. */
import { describe, expect, test } from 'vitest'
import { PassCost } from '../../src/decode/pass-cost.ts'
import { type Policy, refineShares } from '../../src/decode/policy.ts'

describe('refining beside streams', () => {
  const policy: Policy = {
    order: 'shortest',
    chunk: 128,
    fullRows: 32,
    stallMs: 100,
    refineMs: 30,
    aging: 0.25,
    budget: 256,
  }
  const candidate = (number: number, inexact: number, doubted = false) => {
    return { pending: 1, expected: 1, streaming: !doubted, arrived: 0, number, lastPass: 0, inexact, doubted }
  }
  const counts = (taken: number, cost: PassCost, ...candidates: ReturnType<typeof candidate>[]) =>
    refineShares(candidates, taken, policy, cost).map(({ candidate, count }) => [candidate.number, count])
  const learned = (rows: number, ms: number, more: [number, number][] = []) => {
    const cost = new PassCost()
    for (const [r, m] of [[rows, ms] as const, ...more]) cost.learn(r, m)
    return cost
  }

  test('adds at most the bound and the time of one step, but always some rows', () => {
    // A step takes 20 ms, and each further row 2 ms: another 20 ms, as long as the step, are 20
    // rows in total.
    const cost = learned(1, 20, [
      [16, 32],
      [64, 128],
    ])
    expect(counts(1, cost, candidate(0, 500))).toEqual([[0, 19]])
    // With steps of 100 ms, the bound of 30 ms applies.
    expect(
      counts(
        1,
        learned(1, 100, [
          [16, 64],
          [64, 192],
        ]),
        candidate(0, 500),
      )[0]![1],
    ).toBeLessThan(45)
    // Rows that cost far too much, and unknown costs.
    expect(counts(1, learned(1, 1000), candidate(0, 500))).toEqual([[0, 3]])
    expect(counts(1, new PassCost(), candidate(0, 500))).toEqual([[0, 3]])
  })

  test('fills tiles of four rows, and always makes net progress against the streams', () => {
    // 22 rows would double the step's time: the nearest multiple of a tile is 24.
    expect(
      counts(
        1,
        learned(1, 22, [
          [16, 32],
          [64, 128],
        ]),
        candidate(0, 500),
      ),
    ).toEqual([[0, 23]])
    // 15 rows would take the 30 ms, and that bound is kept.
    expect(counts(1, learned(1, 40, [[15, 70]]), candidate(0, 500))).toEqual([[0, 11]])
    // For rows that skip a sixth of the layers, 18 rows beside the step cost as much as 15, and 19
    // as much as 15.8.
    const skipping = refineShares([candidate(0, 500)], 1, policy, learned(1, 16, [[17, 32]]), { rowCost: 5 / 6 })
    expect(skipping.map(({ count }) => count)).toEqual([19])
    for (const streams of [1, 2, 3, 4, 5, 8]) {
      const all = Array.from({ length: streams }, (_, number) => candidate(number, 500))
      const refined = counts(streams, learned(1, 1000), ...all).reduce((sum, [, count]) => sum + count!, 0)
      expect((streams + refined) % 4).toBe(0)
      expect(refined).toBeGreaterThanOrEqual(2 * streams)
    }
  })

  test('uses a whole pass when nothing waits, and no more rows than remain', () => {
    expect(counts(0, learned(1, 20), candidate(0, 500))).toEqual([[0, 256]])
    expect(counts(0, learned(1, 20), candidate(0, 7), candidate(1, 0), candidate(2, 9))).toEqual([
      [0, 7],
      [2, 9],
    ])
  })

  test('requests that show nothing until they are exact go first', () => {
    expect(counts(0, learned(1, 20), candidate(0, 200), candidate(1, 200, true))).toEqual([
      [1, 200],
      [0, 56],
    ])
  })
})
