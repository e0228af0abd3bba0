/** Which way, of which companion. */
import { describe, expect, test } from 'vitest'
import type { Way } from '../../src/engine/service.ts'
import { StaticCompanions } from '../../src/route/companions.ts'
import { Router, type RouterOptions } from '../../src/route/router.ts'

const all: readonly Way[] = ['remote', 'relay', 'race']
const asked = { tokens: 512, predicted: false, bytesPerToken: 12_000, ways: all, localQueueMs: 0 }

/** A router that knows its speeds well: milliseconds a token here and there, round trip, bytes a millisecond. */
function knowing(here: number, there: number, rtt: number, bandwidth: number, options: RouterOptions = {}) {
  const companions = new StaticCompanions([{ name: 'mac', client: undefined }])
  const router = new Router(companions, { localMsPerToken: here, now: () => 100, ...options })
  const [{ costs }] = companions.list as [(typeof companions.list)[0]]
  for (let at = 0; at < 10; at++) {
    costs.learnStatus({ rttMs: rtt, msPerToken: there, prompts: 0 }, 99)
    costs.bandwidth.learn(bandwidth, 99)
  }
  for (const predicted of [false, true])
    for (const tokens of [16, 32, 64, 128, 256, 512, 1024])
      for (let at = 0; at < 4; at++) {
        const decision = { ...router.decide({ ...asked, predicted, tokens, ways: [] }) }
        router.report(decision, { ttftMs: tokens * here, local: { tokens, ms: tokens * here } })
      }
  return { router, companions, costs }
}

const wayOf = (router: Router<undefined>, change: Partial<typeof asked> = {}) =>
  router.decide({ ...asked, ...change }).way

describe('the route', () => {
  test('is the one with the lowest expected time', () => {
    // 2,048 ms here; 20 + 51 there; K and V of 6 MB take 610 at 10 kB/ms.
    const { router } = knowing(4, 0.1, 20, 10_000)
    const decision = router.decide(asked)
    expect(decision.way).toBe('relay')
    expect(decision.companion?.name).toBe('mac')
    expect(decision.considered.local).toBeCloseTo(2048)
    expect(decision.considered.relay).toBeCloseTo(71.2)
    expect(decision.predictedMs).toBe(decision.considered.relay)
    expect(wayOf(router, { ways: ['remote'] })).toBe('remote')
    expect(wayOf(router, { ways: [] })).toBe('local')
  })

  test('stays local where a companion is slower, or far', () => {
    const ways = ['remote', 'relay'] as const
    expect(wayOf(knowing(1, 6, 5, 10_000).router, { ways })).toBe('local')
    expect(wayOf(knowing(1, 0.1, 150, 10_000).router, { tokens: 64, ways })).toBe('local')
    expect(wayOf(knowing(1, 0.1, 150, 10_000).router, { tokens: 1024, ways })).toBe('relay')
  })

  test('is remote where many requests wait locally', () => {
    const { router } = knowing(1, 2, 5, 10_000)
    expect(wayOf(router, { ways: ['remote', 'relay'] })).toBe('local')
    expect(wayOf(router, { ways: ['remote', 'relay'], localQueueMs: 5000 })).toBe('relay')
  })

  test('`always` fixes it, where the request allows it', () => {
    const { router } = knowing(1, 6, 5, 10_000, { always: 'remote' })
    expect(wayOf(router)).toBe('remote')
    expect(wayOf(router, { ways: ['relay'] })).toBe('local')
  })

  test('a race that gains nothing is abandoned after a few', () => {
    const { router } = knowing(1, 6, 5, 10_000)
    const ways: Way[] = []
    for (let at = 0; at < 40; at++) {
      const decision = router.decide({ ...asked, predicted: true })
      ways.push(decision.way)
      // It ends when reading here does.
      const here = { ttftMs: 512, local: { tokens: 512, ms: 512 } }
      router.report(decision, decision.way === 'local' ? here : { ...here, ttftMs: 530, ending: 'left' })
    }
    expect(ways.slice(10)).toEqual(Array(30).fill('local'))
  })

  test('an unmeasured predicted prefill is estimated from exact', () => {
    const companions = new StaticCompanions<undefined>([])
    const router = new Router(companions, { now: () => 0 })
    router.report(router.decide(asked), { ttftMs: 512, local: { tokens: 512, ms: 512 } })
    expect(router.decide({ ...asked, predicted: true }).predictedMs).toBeCloseTo(0.6 * 512)
  })
})

describe('a companion that fails', () => {
  test('is left alone, tried again, and trusted after a success', () => {
    let now = 100
    const { router } = knowing(4, 0.1, 20, 10_000, { now: () => now })
    const failed = router.decide(asked)
    router.report(failed, { ttftMs: 2100, ending: 'failed' })
    expect(wayOf(router)).toBe('local')
    now += 1001
    const probe = router.decide(asked)
    expect(probe.way).toBe('relay')
    // Only one tries.
    expect(wayOf(router)).toBe('local')
    router.report(probe, { ttftMs: 72, ending: 'succeeded' })
    expect(wayOf(router)).toBe('relay')
  })

  test('does not change its measured speed', () => {
    const { router, costs } = knowing(4, 0.1, 20, 10_000)
    const before = costs.estimate('relay', { ...asked, localMsPerToken: 4 }, 100).mean
    router.report(router.decide(asked), { ttftMs: 60_000, ending: 'failed' })
    expect(costs.estimate('relay', { ...asked, localMsPerToken: 4 }, 100).mean).toBe(before)
  })
})

describe('several companions', () => {
  const three = () => {
    const companions = new StaticCompanions(['far', 'near', 'slow'].map((name) => ({ name, client: undefined })))
    const [far, near, slow] = companions.list
    for (let at = 0; at < 5; at++) {
      far!.costs.learnStatus({ rttMs: 200, msPerToken: 0.2, prompts: 0 }, 0)
      near!.costs.learnStatus({ rttMs: 5, msPerToken: 1, prompts: 0 }, 0)
      slow!.costs.learnStatus({ rttMs: 5, msPerToken: 9, prompts: 0 }, 0)
    }
    return companions
  }
  const prompt = (tokens: number) => ({ tokens, bytesPerToken: 12_000, localMsPerToken: 4 })

  test('the one expected to be first is asked, by the length of the prompt', () => {
    const companions = three()
    expect(companions.pick(prompt(64), 0)?.name).toBe('near')
    expect(companions.pick(prompt(2000), 0)?.name).toBe('far')
  })

  test('a failed one is skipped; where all failed there is none', () => {
    const companions = three()
    const [far, near, slow] = companions.list
    companions.report(near!, 'failed', 0)
    expect(companions.pick(prompt(64), 0)?.name).toBe('far')
    companions.report(far!, 'failed', 0)
    companions.report(slow!, 'failed', 0)
    expect(companions.pick(prompt(64), 0)).toBeUndefined()
    expect(companions.pick(prompt(64), 1001)?.name).toBe('near')
  })

  test('a long queue diverts requests', () => {
    const companions = three()
    for (let at = 0; at < 8; at++) companions.list[1]!.costs.learnStatus({ rttMs: 5, msPerToken: 1, prompts: 20 }, 0)
    expect(companions.pick(prompt(64), 0)?.name).toBe('far')
  })
})
