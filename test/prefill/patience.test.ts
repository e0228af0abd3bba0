/** Timers that a busy core does not make unjust. */
import { expect, test } from 'vitest'
import { after, deadline } from '../../src/prefill/patience.ts'

const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

test('fires once, and not after it was stopped', async () => {
  let [fired, stopped] = [0, 0]
  after(5, () => fired++)
  after(5, () => stopped++)()
  const { signal, stop } = deadline(5)
  stop()
  while (fired === 0) await later(5)
  await later(200)
  expect([fired, stopped, signal.aborted]).toEqual([1, 0, false])
})

test('what arrived while this core was busy is read before the timer fires', async () => {
  let arrived = false
  let inTime: boolean | undefined
  after(30, () => {
    inTime = arrived
  })
  setTimeout(() => {
    arrived = true
  }, 40)
  // Busy beyond both: the timer is due first.
  const until = performance.now() + 120
  while (performance.now() < until);
  while (inTime === undefined) await later(10)
  expect(inTime).toBe(true)
})
