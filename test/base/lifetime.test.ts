/** Everything that a request holds is released once, however the request ends. */
import { getEventListeners } from 'node:events'
import { describe, expect, test } from 'vitest'
import { Lifetime } from '../../src/base/lifetime.ts'
import fc from '../helpers/properties.ts'

const settled = () => new Promise((resolve) => setImmediate(resolve))

describe('a lifetime', () => {
  test('runs its clean-ups once, the latest first, whoever ends it', async () => {
    const life = new Lifetime()
    const order: string[] = []
    for (const name of ['place', 'pages', 'timer']) life.hold(() => order.push(name))
    void life.end()
    expect(order).toEqual(['timer', 'pages', 'place'])
    await Promise.all([life.end(), life.end()])
    expect(order).toHaveLength(3)
  })

  test('ends by a signal alone, and aborts its own signal before it cleans up', () => {
    const control = new AbortController()
    const life = new Lifetime().follow(control.signal)
    let aborted: boolean | undefined
    life.hold(() => {
      aborted = life.signal.aborted
    })
    control.abort(new Error('gone'))
    expect([life.ended, aborted, life.signal.reason.message]).toEqual([true, true, 'gone'])
    expect(new Lifetime().follow(control.signal).ended).toBe(true)
    expect(new Lifetime().follow(undefined).ended).toBe(false)
  })

  test('leaves no listener on a signal that outlives it', async () => {
    const { signal } = new AbortController()
    const lives = Array.from({ length: 20 }, () => new Lifetime().follow(signal))
    expect(getEventListeners(signal, 'abort')).toHaveLength(20)
    for (const life of lives) await life.end()
    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
  })

  test('releases at once what is added after its end', async () => {
    const life = new Lifetime()
    await life.end()
    let given = 0
    const release = life.hold(() => given++)
    expect(given).toBe(1)
    release()
    expect(given).toBe(1)
  })

  test('releases early, once', async () => {
    const life = new Lifetime()
    let given = 0
    const release = life.hold(() => given++)
    release()
    release()
    await life.end()
    release()
    expect(given).toBe(1)
  })

  test('awaits an asynchronous clean-up before it runs those registered earlier', async () => {
    const life = new Lifetime()
    const order: string[] = []
    life.hold(() => order.push('pages'))
    life.hold(async () => {
      await settled()
      order.push('written')
    })
    void life.end()
    expect(order).toEqual([])
    await life.end()
    expect(order).toEqual(['written', 'pages'])
  })

  test('runs the others where one throws or rejects, and reports it to all callers', async () => {
    const life = new Lifetime()
    let given = 0
    life.hold(() => given++)
    life.hold(() => {
      throw new Error('one')
    })
    life.hold(() => Promise.reject(new Error('two')))
    await expect(life.end()).rejects.toMatchObject({ errors: [{ message: 'two' }, { message: 'one' }] })
    await expect(life.end()).rejects.toThrow('2 clean-ups failed')
    expect(given).toBe(1)
  })

  test('a clean-up may end it, register more and release others', async () => {
    const life = new Lifetime()
    const order: string[] = []
    const release = life.hold(() => order.push('early'))
    life.hold(() => {
      order.push('first')
      void life.end()
      release()
      life.hold(() => order.push('late'))
    })
    await life.end()
    expect(order).toEqual(['first', 'early', 'late'])
  })
})

describe('waiting for work', () => {
  test('gives the result of the work, and keeps no reference to it', async () => {
    const life = new Lifetime()
    expect(await life.until(Promise.resolve(3))).toBe(3)
    await expect(life.until(Promise.reject(new Error('no')))).rejects.toThrow('no')
  })

  test('ends with the lifetime; a later result is passed on for disposal', async () => {
    const life = new Lifetime()
    const work = Promise.withResolvers<string>()
    const late: string[] = []
    const waiting = life.until(work.promise, (value) => late.push(value))
    void life.end(new Error('gone'))
    await expect(waiting).rejects.toThrow('gone')
    work.resolve('a response')
    await settled()
    expect(late).toEqual(['a response'])
    await expect(life.until(new Promise(() => {}))).rejects.toThrow('gone')
  })
})

test('nothing is held after the end and nothing is released twice, in any order of calls', async () => {
  const steps = fc.array(
    fc.oneof(
      fc.record({ kind: fc.constantFrom('hold', 'slow', 'throw', 'ender') }),
      fc.record({ kind: fc.constant('release'), at: fc.nat(20) }),
      fc.record({ kind: fc.constantFrom('end', 'abort') }),
    ),
    { maxLength: 30 },
  )
  await fc.assert(
    fc.asyncProperty(steps, async (all) => {
      const control = new AbortController()
      const life = new Lifetime().follow(control.signal)
      const given: number[] = []
      const releases: (() => unknown)[] = []
      for (const step of all) {
        const { kind } = step
        if (kind === 'end') void life.end()
        else if (kind === 'abort') control.abort()
        else if (kind === 'release') {
          try {
            void releases['at' in step ? step.at % (releases.length || 1) : 0]?.()
          } catch {
            // A clean-up that throws reports to its caller.
          }
        } else {
          const index = given.length
          given.push(0)
          const cleanUp = () => {
            given[index]!++
            if (kind === 'throw' && !life.ended) throw new Error('no')
            if (kind === 'ender') void life.end()
            return kind === 'slow' ? settled() : undefined
          }
          releases.push(life.hold(cleanUp))
        }
      }
      await life.end()
      expect(given.every((count) => count === 1)).toBe(true)
      expect(getEventListeners(control.signal, 'abort')).toHaveLength(0)
    }),
    { numRuns: 200 },
  )
})
