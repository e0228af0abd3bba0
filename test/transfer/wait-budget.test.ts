/** Timers that a busy thread does not make unfair. */
import { describe, expect, test } from 'vitest'
import { after } from '../../src/base/timeout.ts'
import { WaitBudget } from '../../src/transfer/wait-budget.ts'
import { countTimers } from '../helpers/timers.ts'

const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

test('a timer fires once, and not after it was stopped', async () => {
  let [fired, stopped] = [0, 0]
  after(5, () => fired++)
  after(5, () => stopped++)()
  while (fired === 0) await later(5)
  await later(200)
  expect([fired, stopped]).toEqual([1, 0])
})

test('data that arrived while this core was busy is read before the timer fires', async () => {
  let arrived = false
  let inTime: boolean | undefined
  after(30, () => {
    inTime = arrived
  })
  setTimeout(() => {
    arrived = true
  }, 40)
  // The thread is busy beyond both, so the timer is due first.
  const until = performance.now() + 120
  while (performance.now() < until);
  while (inTime === undefined) await later(10)
  expect(inTime).toBe(true)
})

describe('a waiting budget', () => {
  /** Waits for `ms` with the clock running. */
  const waiting = (budget: WaitBudget, ms: number) => budget.wait(later(ms))

  test('is not spent while nothing waits', async () => {
    let spent = 0
    const budget = new WaitBudget(30, () => spent++)
    await waiting(budget, 1)
    await later(120)
    expect([spent, budget.spent]).toEqual([0, false])
    budget.start()
    while (!budget.spent) await later(5)
    expect(spent).toBe(1)
  })

  test('is spent equally by many short waits and by a long one', async () => {
    let spent = 0
    const budget = new WaitBudget(400, () => spent++)
    let waits = 0
    for (; !budget.spent && waits < 1000; waits++) await waiting(budget, 10)
    expect(spent).toBe(1)
    expect(waits).toBeGreaterThan(1)
    await later(60)
    expect(spent).toBe(1)
    // A refill for a peer that was given up changes nothing.
    budget.refill(1000)
    await waiting(budget, 1)
    expect(budget.spent).toBe(true)
  })

  test('is restored by progress, up to its initial value', async () => {
    const spent: string[] = []
    const even = new WaitBudget(1000, () => spent.push('even'))
    for (let at = 0; at < 10; at++) {
      await waiting(even, 5)
      even.refill(1000)
    }
    expect(spent).toEqual([])
    // However much was refilled, a single wait is not longer than the whole budget.
    const rich = new WaitBudget(20, () => spent.push('rich'))
    rich.refill(1e9)
    rich.start()
    while (!rich.spent) await later(5)
    expect(spent).toEqual(['rich'])
  })

  test('leaves no timer behind, whatever the work did', async () => {
    const timers = countTimers()
    const budget = new WaitBudget(60_000, () => {})
    await budget.wait(Promise.resolve(1))
    await expect(budget.wait(Promise.reject(new Error('no')))).rejects.toThrow('no')
    budget.start()
    budget.start()
    budget.stop()
    budget.stop()
    timers.stop()
    expect(timers.live()).toBe(0)
  })
})
