/** Streams whose tokens are forced run several at once, and go before later requests as their single steps do. */
import { describe, expect, test } from 'vitest'
import type { Scores } from '../../src/backend/backend.ts'
import { pageTokens } from '../../src/base/kv.ts'
import { all, prompt, Request, setup } from '../helpers/scheduled.ts'

/** After `at` tokens, `count` tokens follow that are forced. */
class Forcing extends Request {
  at = 4
  count = 40

  override chooseTokens(scores: Scores): readonly number[] | undefined {
    const chosen = super.chooseTokens(scores)
    if (!chosen || this.answer.length !== this.at) return chosen
    return [...chosen, ...prompt(this.count, 5)]
  }
}

describe('a stream with forced tokens', () => {
  test.each([
    ['of one tenant', ''],
    ['of another tenant with more than its share', 'b'],
  ])('takes the pages of a later request %s', async (_, tenant) => {
    const { scheduler, cache } = setup({ pages: 8, prefixPages: 0 })
    // The later one holds all other pages when the tokens are forced.
    const first = new Forcing(prompt(pageTokens), 12)
    const later = new Request(prompt(5 * pageTokens, 3), 40, tenant)
    /** How many tokens the later one had at each of the first one's. */
    const others: number[] = []
    first.inside = (hook) => hook === 'chooseTokens' && others.push(later.answer.length)
    scheduler.add(first)
    scheduler.add(later)
    await all(scheduler, [first, later])
    expect([first.error, later.error]).toEqual([undefined, undefined])
    expect(first.answer.length).toBeGreaterThan(5)
    expect(scheduler.stats.preemptions).toBeGreaterThan(0)
    // It takes passes to run forty tokens, but none in which it waits until the other one is stuck.
    expect((others[first.at] ?? 0) - (others[first.at - 1] ?? 0)).toBeLessThan(4)
    expect(cache.pagesInUse).toBe(0)
  })

  test('does not take those of an earlier one', async () => {
    const { scheduler } = setup({ pages: 8, prefixPages: 0 })
    const early = new Request(prompt(4 * pageTokens, 3), 50)
    const forcing = new Forcing(prompt(pageTokens), 48)
    forcing.at = 30
    scheduler.add(early)
    scheduler.add(forcing)
    await all(scheduler, [early, forcing])
    expect([early.error, forcing.error]).toEqual([undefined, undefined])
    expect(early.admissions).toBe(1)
  })
})
