/** Tests the expected time of a route, from measurements. */

import { describe, expect, test } from 'vitest'
import { RemoteCosts } from '../../src/route/costs.ts'
import { earlier } from '../../src/route/estimate.ts'
import { LocalCosts } from '../../src/route/local-costs.ts'
import fc from '../helpers/properties.ts'
import { random } from '../helpers/random.ts'

const prompt = { tokens: 256, bytesPerToken: 12_000, localMsPerToken: 4 }

describe('local prefill', () => {
  test('costs per token, according to the lengths seen', () => {
    const costs = new LocalCosts(4)
    expect(costs.seen).toBe(false)
    expect(costs.estimate(100, 0).mean).toBe(400)
    costs.learn(32, 320, 0)
    costs.learn(1024, 2048, 0)
    expect(costs.estimate(40, 0).mean).toBe(400)
    expect(costs.estimate(1000, 0).mean).toBeCloseTo(2000)
  })

  test.each([
    [0, 5],
    [10, 0],
    [10, Number.NaN],
  ])('a measurement of %d tokens in %d ms is ignored', (tokens, ms) => {
    const costs = new LocalCosts(4)
    costs.learn(tokens, ms, 0)
    expect(costs.seen).toBe(false)
  })
})

describe('a companion', () => {
  test('an unmeasured speed is learned from prompt times, and not corrected twice', () => {
    const costs = new RemoteCosts()
    costs.rtt.learn(10)
    costs.queue.learn(0, 0)
    // 6 ms a token, where 1 was guessed.
    const took = 10 + 256 * 6
    costs.learn('relay', prompt, took, 0)
    expect(costs.estimate('relay', prompt, 0).mean).toBeCloseTo(took)
    costs.learnStatus({ rttMs: 10, msPerToken: 6, prompts: 0 }, 1)
    // With a separate factor beside the speed, the prompt would now be expected to take six times
    // as long.
    expect(costs.estimate('relay', prompt, 1).mean).toBeCloseTo(took)
  })

  test('costs the slower of computing and sending', () => {
    const at = (perToken: number, bandwidth: number) => {
      const costs = new RemoteCosts()
      costs.learnStatus({ rttMs: 20, msPerToken: perToken, prompts: 0 }, 0)
      costs.bandwidth.learn(bandwidth, 0)
      return costs.estimate('remote', prompt, 0).mean
    }
    // 256 tokens x 12 kB at 1.2 kB/ms; then 16 tokens here.
    expect(at(1, 1200)).toBeCloseTo(20 + 2560 + 64)
    // The last 64 tokens' bytes follow the computation.
    expect(at(10, 120_000)).toBeCloseTo(20 + 2560 + 6.4 + 64)
  })

  test('a round trip whose answer may have been read late can shorten the estimate, but not lengthen it', () => {
    const costs = new RemoteCosts()
    for (const rttMs of [8, 7, 9]) costs.learnStatus({ rttMs, msPerToken: 1, prompts: 0 }, 0)
    // A core that computes all the time: more of them than values that are kept.
    for (let i = 0; i < 20; i++) costs.learnStatus({ rttMs: 400 + i, late: true, msPerToken: 1, prompts: 0 }, i)
    expect(costs.rtt.value).toBe(7)
    costs.learnStatus({ rttMs: 5, late: true, msPerToken: 1, prompts: 0 }, 30)
    expect(costs.rtt.value).toBe(5)
    for (let i = 0; i < 6; i++) costs.learnStatus({ rttMs: 60, msPerToken: 1, prompts: 0 }, 40 + i)
    expect(costs.rtt.value).toBe(60)
  })

  test('queued prompts there precede ours', () => {
    const costs = new RemoteCosts()
    costs.learnStatus({ rttMs: 0, msPerToken: 2, prompts: 3 }, 0)
    expect(costs.estimate('relay', prompt, 0).mean).toBeCloseTo(3 * 64 * 2 + 512)
  })

  test('the part that the formula omits is learned by route and length', () => {
    const costs = new RemoteCosts()
    costs.learnStatus({ rttMs: 10, msPerToken: 1, prompts: 0 }, 0)
    const before = costs.estimate('relay', prompt, 0).mean
    for (let at = 0; at < 12; at++) costs.learn('relay', prompt, 2 * before, at)
    expect(costs.estimate('relay', prompt, 12).mean / before).toBeGreaterThan(1.8)
    const kv = costs.estimate('remote', prompt, 12).mean
    expect(kv).toBe(new RemoteCosts().estimate.call(costs, 'remote', prompt, 12).mean)
  })

  test('K and V that never arrived are worth a trial where that is cheap, and again after a minute', () => {
    const costs = new RemoteCosts()
    costs.learnStatus({ rttMs: 5, msPerToken: 0.1, prompts: 0 }, 0)
    const doubt = (tokens: number, now: number) => {
      const { mean, doubt } = costs.estimate('remote', { ...prompt, tokens }, now)
      return doubt / mean
    }
    expect(doubt(64, 0)).toBeGreaterThan(0.8)
    expect(doubt(1024, 0)).toBeLessThan(0.6)
    costs.bandwidth.learn(1000, 0)
    expect(doubt(64, 1)).toBeLessThan(0.6)
    expect(doubt(64, 61_000)).toBeGreaterThan(0.8)
  })
})

describe('the earlier of two', () => {
  const estimate = fc.record({
    mean: fc.double({ min: 1, max: 1e4, noNaN: true }),
    deviation: fc.double({ min: 0, max: 1e3, noNaN: true }),
    doubt: fc.double({ min: 0, max: 1e3, noNaN: true }),
  })

  test('is no later than either, and symmetric', () => {
    fc.assert(
      fc.property(estimate, estimate, (a, b) => {
        const both = earlier(a, b)
        const least = Math.min(a.mean, b.mean)
        expect(both.mean).toBeLessThanOrEqual(least * 1.0001 + 0.01)
        expect(both.mean).toBeGreaterThanOrEqual(least / 2)
        expect(both.mean).toBeCloseTo(earlier(b, a).mean, 6)
      }),
    )
  })

  test('is the mean of the smaller of two samples', () => {
    const rng = random(3)
    for (const [a, b] of [
      [100, 100],
      [100, 120],
      [100, 200],
    ] as const) {
      let total = 0
      const draws = 200_000
      for (let at = 0; at < draws; at++) total += Math.min(a + 10 * rng.normal(), b + 20 * rng.normal())
      const told = earlier({ mean: a, deviation: 10, doubt: 0 }, { mean: b, deviation: 20, doubt: 0 })
      // The standard error of the draws is below 0.04; the logistic approximation adds as much again.
      expect(Math.abs(told.mean - total / draws)).toBeLessThan(0.2)
    }
  })
})
