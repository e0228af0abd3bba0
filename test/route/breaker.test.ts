/** Tests which requests may try a failing companion. */

import { expect, test } from 'vitest'
import { Breaker } from '../../src/route/breaker.ts'
import fc from '../helpers/properties.ts'

test('opens at a failure, admits one trial, closes at a success', () => {
  const breaker = new Breaker()
  expect(breaker.enter(0)).toBe(true)
  breaker.failed(0)
  expect(breaker.state(999)).toBe('open')
  expect(breaker.enter(999)).toBe(false)
  expect(breaker.state(1000)).toBe('half-open')
  expect(breaker.enter(1000)).toBe(true)
  expect(breaker.enter(1000)).toBe(false)
  breaker.succeeded()
  expect([breaker.enter(1001), breaker.enter(1001)]).toEqual([true, true])
})

test('an abandoned trial makes room for the next', () => {
  const breaker = new Breaker()
  breaker.failed(0)
  expect(breaker.enter(1000)).toBe(true)
  breaker.left()
  expect(breaker.enter(1000)).toBe(true)
})

test('waits twice as long after each failure, up to a minute', () => {
  const breaker = new Breaker()
  let now = 0
  const waits: number[] = []
  for (let failure = 0; failure < 10; failure++) {
    breaker.failed(now)
    let wait = 0
    while (breaker.state(now + wait) === 'open') wait += 500
    waits.push(wait)
    now += wait
  }
  expect(waits).toEqual([1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000, 60_000])
})

test('never admits two at once after a failure, in any sequence', () => {
  const steps = fc.array(fc.tuple(fc.constantFrom('enter', 'failed', 'succeeded', 'left'), fc.nat(3000)))
  fc.assert(
    fc.property(steps, (events) => {
      const breaker = new Breaker()
      let now = 0
      breaker.failed(now)
      let inside = 0
      for (const [event, ms] of events) {
        now += ms
        if (event === 'enter') {
          if (breaker.enter(now)) inside++
          expect(inside).toBeLessThanOrEqual(1)
        } else if (inside > 0) {
          inside--
          if (event === 'succeeded') return
          if (event === 'failed') breaker.failed(now)
          else breaker.left()
        }
      }
    }),
  )
})
