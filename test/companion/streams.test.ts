/** Whatever way a companion's answer ends, its turn is given back once, and what made it is closed. */
import { describe, expect, test } from 'vitest'
import { byteStream } from '../../companion/streams.ts'
import { Lifetime } from '../../src/index.ts'

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

describe('a turn is given back once', () => {
  test('at the end', async () => {
    const { seen, answer } = source(3)
    expect(new Uint8Array(await (await answer()).arrayBuffer())).toEqual(Uint8Array.of(0, 1, 2))
    expect(seen).toEqual({ closed: 1, left: 1 })
  })

  test('when making the first piece fails: with a status of its own', async () => {
    const { seen, answer } = source(3, 0)
    await expect(answer()).rejects.toThrow('no more')
    expect(seen).toEqual({ closed: 1, left: 1 })
  })

  test('when a later piece fails: the body breaks off', async () => {
    const { seen, answer } = source(3, 2)
    await expect((await answer()).arrayBuffer()).rejects.toThrow('no more')
    expect(seen).toEqual({ closed: 1, left: 1 })
  })

  test('when the reader leaves', async () => {
    const { seen, answer } = source(3)
    const reader = (await answer()).body!.getReader()
    await reader.read()
    await reader.cancel()
    await settled()
    expect(seen).toEqual({ closed: 1, left: 1 })
  })

  test('when the client is gone before anybody reads the body', async () => {
    const { seen, control, answer } = source(3)
    const response = await answer()
    control.abort()
    await settled()
    expect(seen).toEqual({ closed: 1, left: 1 })
    await expect(response.arrayBuffer()).rejects.toThrow()
  })

  test('when the client was gone before the first piece', async () => {
    const { seen, control, answer } = source(3)
    control.abort(new Error('gone'))
    await expect(answer()).rejects.toThrow('gone')
    expect(seen).toEqual({ closed: 0, left: 1 })
  })
})
