/** However a companion's answer ends, its turn is released once, and its source is closed. */
import { afterAll, describe, expect, test } from 'vitest'
import { byteStream, Stalled } from '../../companion/streams.ts'
import { Lifetime } from '../../src/index.ts'
import { countTimers } from '../helpers/timers.ts'

function source(pieces: number, failsAt = Number.POSITIVE_INFINITY) {
  const seen = { closed: 0, left: 0 }
  async function* bytes() {
    try {
      for (let at = 0; at < pieces; at++) {
        if (at === failsAt) throw new Error('no more')
        yield Uint8Array.of(at)
      }
    } finally {
      seen.closed++
    }
  }
  const control = new AbortController()
  const life = new Lifetime().follow(control.signal)
  life.hold(() => seen.left++)
  const answer = () => byteStream(bytes(), life, 60_000)
  return { seen, control, answer }
}

const settled = () => new Promise((resolve) => setTimeout(resolve, 0))

describe('a turn is released once', () => {
  test('at the end', async () => {
    const { seen, answer } = source(3)
    expect(new Uint8Array(await (await answer()).arrayBuffer())).toEqual(Uint8Array.of(0, 1, 2))
    expect(seen).toEqual({ closed: 1, left: 1 })
  })

  test('when the first piece fails: with a status of its own', async () => {
    const { seen, answer } = source(3, 0)
    await expect(answer()).rejects.toThrow('no more')
    expect(seen).toEqual({ closed: 1, left: 1 })
  })

  test('when a later piece fails: the body breaks off', async () => {
    const { seen, answer } = source(3, 2)
    await expect((await answer()).arrayBuffer()).rejects.toThrow('no more')
    expect(seen).toEqual({ closed: 1, left: 1 })
  })

  test('when the reader disconnects', async () => {
    const { seen, answer } = source(3)
    const reader = (await answer()).body!.getReader()
    await reader.read()
    await reader.cancel()
    await settled()
    expect(seen).toEqual({ closed: 1, left: 1 })
  })

  test('when the client disconnects before the body is read', async () => {
    const { seen, control, answer } = source(3)
    const response = await answer()
    control.abort()
    await settled()
    expect(seen).toEqual({ closed: 1, left: 1 })
    await expect(response.arrayBuffer()).rejects.toThrow()
  })

  test('when the client disconnected before the first piece', async () => {
    const { seen, control, answer } = source(3)
    control.abort(new Error('gone'))
    await expect(answer()).rejects.toThrow('gone')
    expect(seen).toEqual({ closed: 0, left: 1 })
  })
})

describe('a reader that reads nothing', () => {
  const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
  const timers = countTimers()
  afterAll(() => timers.stop())

  /** Yields pieces of `size` bytes, each computed in `ms`, forever. */
  function endless({ size = 1, ms = 0, stallMs = 50 } = {}) {
    const seen = { made: 0, closed: 0 }
    async function* bytes() {
      try {
        for (;;) {
          if (ms > 0) await later(ms)
          seen.made++
          yield new Uint8Array(size)
        }
      } finally {
        seen.closed++
      }
    }
    const life = new Lifetime()
    return { seen, life, answer: () => byteStream(bytes(), life, stallMs) }
  }

  async function ended(life: Lifetime): Promise<void> {
    while (!life.ended) await later(5)
    await life.end()
    await settled()
  }

  test.each([0, 1, 3])(
    'is dropped after %d pieces, which releases everything and breaks off the body',
    async (taken) => {
      const { seen, life, answer } = endless()
      const reader = (await answer()).body!.getReader()
      for (let at = 0; at < taken; at++) await reader.read()
      await ended(life)
      expect(life.signal.reason).toBeInstanceOf(Stalled)
      expect(seen).toEqual({ made: Math.max(1, taken), closed: 1 })
      await expect(reader.read()).rejects.toThrow('took nothing for 50 ms')
      expect(timers.live()).toBe(0)
    },
  )

  test('is distinguished from one that waits for data still being computed', async () => {
    const { life, answer } = endless({ ms: 150, stallMs: 100 })
    const reader = (await answer()).body!.getReader()
    for (let at = 0; at < 5; at++) await reader.read()
    expect(life.ended).toBe(false)
    await reader.cancel()
    expect(life.ended).toBe(true)
  })

  test('is dropped like one that reads a small piece now and then', async () => {
    const { life, seen, answer } = endless({ stallMs: 200 })
    const reader = (await answer()).body!.getReader()
    while (!life.ended) {
      await reader.read().catch(() => {})
      await later(20)
    }
    // Each read gave back what a byte is worth.
    expect(seen.made).toBeLessThan(100)
  })

  test('for a while may have read much before', async () => {
    const { life, answer } = endless({ size: 1 << 16, stallMs: 400 })
    const reader = (await answer()).body!.getReader()
    for (let at = 0; at < 8; at++) {
      await reader.read()
      await later(100)
    }
    expect(life.ended).toBe(false)
    await life.end()
  })
})
