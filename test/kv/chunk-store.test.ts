import { describe, expect, test } from 'vitest'
import { ChunkStore } from '../../src/kv/chunk-store.ts'
import { random } from '../helpers/random.ts'

/** Two layers of different widths: 16 bytes a token. */
const widths = [6, 2]
const ids = (length: number, from = 0) => Array.from({ length }, (_, i) => from + i)

/** The value of a token in a column of a layer. */
const value = (layer: number, position: number, column: number) => 100 * layer + position + column / 8

/** Gives a chunk's K and V to a reader, in pieces of `passTokens`, sinks first. */
async function keep(store: ChunkStore, chunk: readonly number[], tenant = '', { sinks = 3, passTokens = 5 } = {}) {
  const reader = store.reader(sinks, chunk.length)
  const all = sinks + chunk.length
  for (let from = 0; from < all; from += passTokens) {
    const rows = Math.min(passTokens, all - from)
    for (const [layer, width] of widths.entries()) {
      const values = Float32Array.from({ length: rows * width }, (_, i) =>
        value(layer, from + Math.floor(i / width) - sinks, i % width),
      )
      reader.take(layer, from, Promise.resolve(values))
    }
  }
  return store.keep(tenant, chunk, reader)
}

describe('ChunkStore', () => {
  test('gives back any range of a chunk, without its sinks', async () => {
    for (const passTokens of [1, 3, 5, 64]) {
      const store = new ChunkStore(1e6, widths)
      expect(await keep(store, ids(20), '', { passTokens })).toBe(true)
      const kv = store.get('', ids(20))!
      for (const [from, to] of [
        [0, 20],
        [7, 8],
        [13, 20],
      ] as const)
        for (const [layer, width] of widths.entries())
          expect([...kv.read(layer, from, to)]).toEqual(
            Array.from({ length: (to - from) * width }, (_, i) =>
              value(layer, from + Math.floor(i / width), i % width),
            ),
          )
    }
  })

  test('reads all chunks into one buffer, beside what is kept', async () => {
    const store = new ChunkStore(1e6, widths)
    await keep(store, ids(20))
    await keep(store, ids(20, 100))
    const [one, other] = [store.get('', ids(20))!, store.get('', ids(20, 100))!]
    const large = one.read(0, 0, 20).buffer
    expect([one.read(1, 3, 4), other.read(0, 0, 20), other.read(1, 0, 9)].map(({ buffer }) => buffer)).toEqual([
      large,
      large,
      large,
    ])
  })

  test('rounds to binary16: no value differs by more than 2 ** -11 of itself', async () => {
    const store = new ChunkStore(1e6, [64])
    const rng = random(5)
    const values = rng.floats(64 * 40)
    const reader = store.reader(0, 40)
    reader.take(0, 0, Promise.resolve(values))
    await store.keep('', ids(40), reader)
    const kept = store.get('', ids(40))!.read(0, 0, 40)
    const off = values.map((exact, i) => Math.abs(kept[i]! - exact) / Math.abs(exact))
    expect(Math.max(...off)).toBeLessThanOrEqual(2 ** -11)
    expect(Math.max(...off)).toBeGreaterThan(2 ** -13)
  })

  test('finds the same tokens of the same tenant only', async () => {
    const store = new ChunkStore(1e6, widths)
    await keep(store, ids(20), 'a')
    expect(store.get('a', ids(20))).toBeDefined()
    for (const other of [ids(19), ids(21), ids(20, 1), [...ids(19), 65_536 + 19]])
      expect(store.get('a', other)).toBeUndefined()
    expect(store.get('b', ids(20))).toBeUndefined()
    expect(store.has('a', ids(20))).toBe(true)
  })

  test('drops what was used least recently, and keeps no more than its budget', async () => {
    const store = new ChunkStore(3 * 16 * 20, widths)
    for (const from of [0, 100, 200]) await keep(store, ids(20, from))
    store.get('', ids(20, 0))
    await keep(store, ids(20, 300))
    expect([0, 100, 200, 300].map((from) => store.has('', ids(20, from)))).toEqual([true, false, true, true])
    expect(store.bytes).toBe(3 * 16 * 20)
    expect(store.size).toBe(3)
    expect(await keep(store, ids(61))).toBe(false)
    expect(store.size).toBe(3)
    await keep(store, ids(20, 300))
    expect(store.bytes).toBe(3 * 16 * 20)
    store.clear()
    expect([store.bytes, store.size, store.has('', ids(20))]).toEqual([0, 0, false])
  })

  test('lets no tenant drop all chunks of another', async () => {
    const store = new ChunkStore(4 * 16 * 20, widths)
    await keep(store, ids(20), 'small')
    for (let from = 100; from < 2000; from += 100) await keep(store, ids(20, from), 'large')
    expect(store.has('small', ids(20))).toBe(true)
    expect(store.bytes).toBe(4 * 16 * 20)
  })

  test('keeps chunks of files until they are released, for one tenant or for all', async () => {
    const store = new ChunkStore(4 * 16 * 20, widths)
    const layers = () => widths.map((width) => new Uint16Array(20 * width).fill(0x3c00))
    for (const from of [100, 200, 300]) await keep(store, ids(20, from), 'a')
    const drops = [store.pin(undefined, ids(20), layers()), store.pin('a', ids(20, 500), layers())]
    // Chunks of prompts made room.
    expect([100, 200, 300].map((from) => store.has('a', ids(20, from)))).toEqual([false, true, true])
    expect([store.has('a', ids(20)), store.has('b', ids(20))]).toEqual([true, true])
    expect([store.has('a', ids(20, 500)), store.has('b', ids(20, 500))]).toEqual([true, false])
    expect([...store.get('b', ids(20))!.read(1, 0, 2)]).toEqual([1, 1, 1, 1])
    for (let from = 1000; from < 2000; from += 100) await keep(store, ids(20, from), 'b')
    expect([store.bytes, store.room, store.size]).toEqual([4 * 16 * 20, 2 * 16 * 20, 4])
    expect(store.has('b', ids(20))).toBe(true)
    // A second file with the same chunk takes nothing, and both hold it.
    const again = store.pin(undefined, ids(20), layers())
    expect(store.room).toBe(2 * 16 * 20)
    expect(() => store.pin(undefined, ids(41, 900), [])).toThrow(
      expect.objectContaining({
        code: 'out_of_memory',
        message: expect.stringMatching(/656 bytes, and 640 of 1280 are free/),
      }),
    )
    expect(await keep(store, ids(41, 900))).toBe(false)
    for (const drop of [...drops, ...drops]) drop()
    expect([store.has('a', ids(20)), store.has('a', ids(20, 500))]).toEqual([true, false])
    again()
    expect([store.has('a', ids(20)), store.room]).toEqual([false, 4 * 16 * 20])
    const last = store.pin(undefined, ids(20), layers())
    store.clear()
    last()
    expect([store.bytes, store.size, store.room]).toEqual([0, 0, store.maxBytes])
  })

  test('keeps no chunk with values that binary16 does not have, nor one that could not be read', async () => {
    const store = new ChunkStore(1e6, [2])
    const large = store.reader(0, 1)
    large.take(0, 0, Promise.resolve(Float32Array.of(1, 70_000)))
    expect(await store.keep('', [1], large)).toBe(false)
    const failed = store.reader(0, 1)
    failed.take(0, 0, Promise.reject(new Error('the GPU was lost')))
    await expect(store.keep('', [1], failed)).rejects.toThrow('the GPU was lost')
    expect(store.size).toBe(0)
  })
})
