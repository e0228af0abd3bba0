/** Times of any length: a host's timer that is asked for more than it can count fires at once. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { after, startTimer, within } from '../../src/base/timeout.ts'

const month = 31 * 86_400_000

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

test.each([
  ['startTimer', startTimer],
  ['after', after],
])('%s waits for longer than a timer can count, and stops at any time', (_, start) => {
  const fire = vi.fn()
  start(month, fire)
  const stop = start(month, fire)
  vi.advanceTimersByTime(month - 1)
  expect(fire).not.toHaveBeenCalled()
  stop()
  vi.advanceTimersByTime(1)
  expect(fire).toHaveBeenCalledTimes(1)
  start(Number.POSITIVE_INFINITY, fire)()
  expect(vi.getTimerCount()).toBe(0)
})

test.each([month, Number.POSITIVE_INFINITY])('within %d ms, work gives what it gives', async (ms) => {
  const work = new Promise((resolve) => setTimeout(() => resolve('done'), 1000))
  const given = within(work, ms)
  await vi.advanceTimersByTimeAsync(1000)
  expect([await given, vi.getTimerCount()]).toEqual(['done', 0])
})
