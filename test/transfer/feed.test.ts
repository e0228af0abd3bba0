/**
 * Bodies of a companion's answers: read at the network's pace into a bounded queue, timed only
 * while they are read.
 */
import { describe, expect, test } from 'vitest'
import { Lifetime } from '../../src/base/lifetime.ts'
import { Feed } from '../../src/transfer/feed.ts'
import { longestLine, readLines } from '../../src/transfer/lines.ts'

const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
const until = async (holds: () => boolean) => {
  while (!holds()) await later(5)
}

/** Returns a body of `pieces`. An undefined piece means silence until the body is cancelled. */
function bodyOf(pieces: readonly (Uint8Array | undefined)[]) {
  const seen = { pulled: 0, cancelled: false }
  const silence = Promise.withResolvers<void>()
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(out) {
        const at = seen.pulled++
        if (at >= pieces.length) return out.close()
        const piece = pieces[at]
        if (piece) return out.enqueue(piece)
        await silence.promise
      },
      cancel() {
        seen.cancelled = true
        silence.resolve()
      },
    },
    { highWaterMark: 0 },
  )
  return { body, seen }
}

function feedOf(pieces: readonly (Uint8Array | undefined)[], stallMs = 60_000) {
  const { body, seen } = bodyOf(pieces)
  const life = new Lifetime()
  const told = { stalls: 0, heldMs: 0 }
  const feed = new Feed(body, life, {
    stallMs,
    onStall: () => {
      told.stalls++
      void life.end(new Error('stalled'))
    },
    explain: (error) => error,
    onHeld: (ms) => {
      told.heldMs += ms
    },
  })
  return { feed, life, seen, told }
}

async function all(feed: AsyncIterable<Uint8Array>): Promise<number[]> {
  const bytes: number[] = []
  for await (const piece of feed) bytes.push(...piece)
  return bytes
}

const byte = (value: number) => Uint8Array.of(value)

describe('a feed', () => {
  test('gives the pieces in order, and releases everything at the end', async () => {
    const { feed, life } = feedOf([byte(1), new Uint8Array(0), byte(2), byte(3)])
    expect(await all(feed)).toEqual([1, 2, 3])
    expect(life.ended).toBe(true)
    expect(await feed.next()).toEqual({ done: true, value: undefined })
  })

  test('keeps reading while nothing consumes, and a consumer that pauses stalls nothing', async () => {
    const { feed, seen, told } = feedOf(
      Array.from({ length: 20 }, (_, at) => byte(at)),
      100,
    )
    expect((await feed.next()).value).toEqual(byte(0))
    await until(() => seen.pulled === 21)
    await later(300)
    expect((await all(feed)).length).toBe(19)
    expect(told).toEqual({ stalls: 0, heldMs: 0 })
  })

  test('buffers a bounded number of bytes; the clock stops while it is full', async () => {
    const { feed, seen, told } = feedOf(
      Array.from({ length: 100 }, () => new Uint8Array(1 << 15)),
      100,
    )
    await until(() => seen.pulled >= 8)
    await later(300)
    expect(seen.pulled).toBe(8)
    expect(told.stalls).toBe(0)
    expect((await all(feed)).length).toBe(100 << 15)
    expect(told.heldMs).toBeGreaterThan(0)
    // While the consumer is the slower one, arrival times say nothing about the network.
    expect(feed.arrived).toBeUndefined()
  })

  test('buffers a bounded number of pieces, however small', async () => {
    const { seen, life } = feedOf(Array.from({ length: 5000 }, () => byte(1)))
    await until(() => seen.pulled >= 1024)
    await later(50)
    expect(seen.pulled).toBe(1024)
    await life.end()
    expect(seen.cancelled).toBe(true)
  })

  test('reports a network that delivers nothing, including empty pieces', async () => {
    for (const silence of [[undefined], [new Uint8Array(0), new Uint8Array(0), undefined]]) {
      const { feed, told, seen } = feedOf([byte(1), ...silence], 30)
      await expect(all(feed)).rejects.toThrow('stalled')
      expect([told.stalls, seen.cancelled]).toEqual([1, true])
    }
  })

  test.each(['the lifetime ends', 'the taker leaves'])(
    'cancels the body where %s, whether or not it was read',
    async (how) => {
      for (const taken of [0, 1]) {
        const { feed, life, seen } = feedOf([byte(1), undefined])
        for (let at = 0; at < taken; at++) await feed.next()
        if (how === 'the taker leaves') await feed.return()
        else void life.end(new Error('gone'))
        await later(0)
        expect(seen.cancelled).toBe(true)
        if (how === 'the lifetime ends' && taken === 1) await expect(feed.next()).rejects.toThrow('gone')
      }
    },
  )

  test('measures the network only while the consumer waits', async () => {
    let out!: ReadableStreamDefaultController<Uint8Array>
    const slow = new ReadableStream<Uint8Array>({
      start(controller) {
        out = controller
      },
    })
    const feed = new Feed(slow, new Lifetime(), { stallMs: 60_000, onStall: () => {}, explain: (error) => error })
    const reading = all(feed)
    for (let at = 0; at < 5; at++) {
      out.enqueue(new Uint8Array(100))
      await later(20)
    }
    out.close()
    await reading
    expect(feed.arrived?.bytes).toBe(500)
    expect(feed.arrived?.ms).toBeGreaterThan(50)
  })
})

describe('lines', () => {
  const encoder = new TextEncoder()
  async function* cut(text: string, size: number) {
    const bytes = encoder.encode(text)
    for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
  }
  async function linesOf(pieces: AsyncIterable<Uint8Array>): Promise<string[]> {
    const lines: string[] = []
    for await (const line of readLines(pieces)) lines.push(line)
    return lines
  }

  test.each([1, 2, 3, 7, 1000])('are the same when cut into pieces of %d bytes', async (size) => {
    const text = 'one\n\nzwölf € 𝄞\n'.repeat(40)
    expect((await linesOf(cut(text, size))).join('\n')).toBe(text.slice(0, -1))
  })

  test('have a maximum length, whether or not their end arrives in the same piece', async () => {
    const fits = 'x'.repeat(longestLine)
    for (const size of [1000, 1 << 20]) {
      expect(await linesOf(cut(`${fits}\n`, size))).toEqual([fits])
      await expect(linesOf(cut(`${fits}x\n`, size))).rejects.toMatchObject({ code: 'remote' })
    }
  })

  test('a line without an end is refused before all of it has arrived', async () => {
    let given = 0
    async function* endless() {
      for (;;) {
        given += 1000
        yield new Uint8Array(1000).fill(97)
      }
    }
    await expect(linesOf(endless())).rejects.toMatchObject({ code: 'remote' })
    expect(given).toBeLessThan(longestLine + 2000)
  })

  test.each([
    ['breaks off in its middle', encoder.encode('one\ntwo')],
    ['is not UTF-8', Uint8Array.of(0xc3, 0x28, 10)],
  ])('a line that %s is refused', async (why, bytes) => {
    const pieces = (async function* () {
      yield bytes
    })()
    await expect(linesOf(pieces)).rejects.toMatchObject({ code: 'remote', message: expect.stringContaining(why) })
  })
})
