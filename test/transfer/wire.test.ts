/** Tests the wire format: it reads back however it is cut, and invalid streams are refused. */

import { describe, expect, test } from 'vitest'
import { joinBytes } from '../../src/base/bytes.ts'
import { crc32 } from '../../src/transfer/crc32.ts'
import type { KvRange } from '../../src/transfer/format.ts'
import { tilesOf } from '../../src/transfer/tiles.ts'
import { writeWire } from '../../src/transfer/wire.ts'
import fc from '../helpers/properties.ts'
import { cut, f16Bytes, readBack, wireBinding, wirePieces, wireRange } from '../helpers/wire.ts'

const pieces = await wirePieces()
const stream = joinBytes(pieces)
const payloads = joinBytes(pieces.slice(1, -1).map((piece) => piece.subarray(24)))
const codeOf = async (bytes: Uint8Array, options = {}) => (await readBack(cut(bytes), options)).code

/** Returns the stream with other bytes in its head and a correct CRC. */
function withHead(change: (view: DataView) => void): Uint8Array {
  const bytes = stream.slice()
  const view = new DataView(bytes.buffer)
  change(view)
  view.setUint32(60, 0, true)
  view.setUint32(60, crc32(bytes.subarray(0, 256)), true)
  return bytes
}

test('CRC-32 is that of zip', () => {
  const text = new TextEncoder().encode('123456789')
  expect(crc32(text)).toBe(0xcbf43926)
  expect(crc32(text.subarray(4), crc32(text.subarray(0, 4)))).toBe(0xcbf43926)
  expect(crc32(new Uint8Array(0))).toBe(0)
})

describe('a stream', () => {
  test('is a head, tiles by tokens and then by layers, and a MAC', () => {
    const tiles = [...tilesOf(wireBinding.shape, wireRange)]
    expect(tiles).toHaveLength(4 * 3)
    expect(tiles[1]).toEqual({ index: 1, from: 16, to: 48, layers: { from: 2, to: 4 } })
    expect(tiles.at(-1)).toEqual({ index: 11, from: 112, to: 117, layers: { from: 4, to: 5 } })
    expect(pieces.map(({ length }) => length)).toEqual([256, ...tiles.map((tile) => 24 + f16Bytes(tile)), 32])
  })

  test('reads back however it is cut', async () => {
    const places = fc.array(fc.nat(stream.length), { maxLength: 40 })
    await fc.assert(
      fc.asyncProperty(places, async (at) => {
        const { code, payload, tiles } = await readBack(cut(stream, at))
        expect([code, tiles]).toEqual(['read', 12])
        expect(payload).toEqual(payloads)
      }),
      { numRuns: 60 },
    )
  })

  test('reads back byte by byte, and with empty pieces', async () => {
    const single = Array.from({ length: stream.length }, (_, at) => at)
    expect((await readBack(cut(stream, single.concat(single)))).code).toBe('read')
  })

  test('truncated anywhere is refused', async () => {
    for (let length = 0; length < stream.length; length += length < 600 ? 1 : 37)
      expect(await codeOf(stream.subarray(0, length)), `cut to ${length}`).toBe('bad_kv')
    expect(await codeOf(stream.subarray(0, -1))).toBe('bad_kv')
  })

  test('with anything after it is refused', async () => {
    expect(await codeOf(joinBytes([stream, Uint8Array.of(0)]))).toBe('bad_kv')
    expect(await codeOf(joinBytes([stream, stream]))).toBe('bad_kv')
  })

  test('with any byte changed is refused', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(stream.length - 1), fc.integer({ min: 1, max: 255 }), async (at, by) => {
        const damaged = stream.slice()
        damaged[at] = damaged[at]! ^ by
        expect(await codeOf(damaged)).toMatch(/^(bad_kv|bad_mac|checksum|wrong_model)$/)
      }),
      { numRuns: 400 },
    )
  })

  test.each<[string, (parts: Uint8Array[]) => Uint8Array[]]>([
    ['tiles swapped', ([head, a, b, ...rest]) => [head!, b!, a!, ...rest]],
    ['a tile doubled', ([head, a, ...rest]) => [head!, a!, a!, ...rest]],
    ['a tile left out', ([head, _, ...rest]) => [head!, ...rest]],
    ['the last tile left out', (parts) => [...parts.slice(0, -2), parts.at(-1)!]],
    ['no MAC', (parts) => parts.slice(0, -1)],
    ['a second head', ([head, ...rest]) => [head!, head!, ...rest]],
  ])('with %s is refused', async (_, change) => {
    expect(await codeOf(joinBytes(change([...pieces])))).toBe('bad_kv')
  })

  test('with a tile of another stream of the same tokens fails by its MAC', async () => {
    const other = await wirePieces()
    const changed = other[3]!.slice()
    changed[30] = changed[30]! ^ 1
    new DataView(changed.buffer).setUint32(20, crc32(changed.subarray(24), crc32(changed.subarray(0, 20))), true)
    const { code, tiles } = await readBack(cut(joinBytes([...pieces.slice(0, 3), changed, ...pieces.slice(4)])))
    // All of it was written, which is why it must not be used before the end.
    expect([code, tiles]).toEqual(['bad_mac', 12])
  })
})

describe('values that both ends must agree on', () => {
  const { identity } = wireBinding
  test.each<[string, object, string]>([
    ['the key', { binding: { ...wireBinding, key: new Uint8Array(32).fill(8) } }, 'bad_mac'],
    ['the context', { binding: { ...wireBinding, context: 'request 2' } }, 'bad_mac'],
    ['no context', { binding: { ...wireBinding, context: '' } }, 'bad_mac'],
    ['the weights', { binding: { ...wireBinding, identity: { ...identity, model: 'a2'.repeat(32) } } }, 'wrong_model'],
    [
      'the vocabulary',
      { binding: { ...wireBinding, identity: { ...identity, tokenizer: 'ff'.repeat(32) } } },
      'wrong_model',
    ],
    ['RoPE', { binding: { ...wireBinding, identity: { ...identity, rope: 'ff'.repeat(32) } } }, 'wrong_model'],
    ['the shape', { binding: { ...wireBinding, shape: { layers: 5, kvHeads: 1, headDim: 8 } } }, 'wrong_model'],
    ['a token', { binding: { ...wireBinding, ids: [...wireBinding.ids.slice(0, 116), 250, 0, 0, 0] } }, 'bad_kv'],
    ['what is held', { from: 32 }, 'bad_kv'],
    ['how far', { to: 116 }, 'bad_kv'],
  ])('%s', async (_, options, code) => {
    const { code: found, tiles } = await readBack(cut(stream), options)
    expect(found).toBe(code)
    if (code !== 'bad_mac') expect(tiles).toBe(0)
  })

  test('tokens after the last one are ignored', async () => {
    const ids = [...wireBinding.ids.slice(0, 117), 5]
    expect((await readBack(cut(stream), { binding: { ...wireBinding, ids } })).code).toBe('read')
  })

  test('a short key is refused at both ends', async () => {
    const binding = { ...wireBinding, key: new Uint8Array(15) }
    expect((await readBack(cut(stream), { binding })).code).toBe('bad_argument')
    await expect(writeWire(binding, wireRange, async () => new Uint8Array(0)).next()).rejects.toMatchObject({
      code: 'bad_argument',
    })
  })
})

describe('a head with a valid CRC', () => {
  test.each<[string, (view: DataView) => void, string]>([
    ['of version 2', (view) => view.setUint16(8, 2, true), 'bad_kv'],
    ['of a codec of tomorrow', (view) => view.setUint16(10, 77, true), 'bad_kv'],
    ['that is longer', (view) => view.setUint32(12, 300, true), 'bad_kv'],
    ['with a table of 4 GB', (view) => view.setUint32(48, 0xffffffff, true), 'bad_kv'],
    ['with a table', (view) => view.setUint32(48, 64, true), 'bad_kv'],
    ['with tiles of 1 GB', (view) => view.setUint32(44, 1 << 30, true), 'bad_kv'],
    ['with tiles too small for its shape', (view) => view.setUint32(44, 16, true), 'bad_kv'],
    ['with more tiles', (view) => view.setUint32(40, 13, true), 'bad_kv'],
    ['with tiles of no layers', (view) => view.setUint16(38, 0, true), 'bad_kv'],
    ['with tiles of more layers than there are', (view) => view.setUint16(38, 6, true), 'bad_kv'],
    ['with tiles of no tokens', (view) => view.setUint16(36, 0, true), 'bad_kv'],
    ['with tiles of 33 tokens', (view) => view.setUint16(36, 33, true), 'bad_kv'],
    ['that begins with layer 1', (view) => view.setUint16(28, 1, true), 'bad_kv'],
    ['that begins within a page', (view) => view.setUint32(16, 8, true), 'bad_kv'],
    ['of another prompt', (view) => view.setUint32(24, 118, true), 'bad_kv'],
    ['of other layers', (view) => view.setUint16(30, 4, true), 'wrong_model'],
    ['with bytes where zeros belong', (view) => view.setUint8(54, 1), 'bad_kv'],
    ['with a predictor', (view) => view.setUint8(170, 1), 'bad_kv'],
    ['with bytes where zeros belong at its end', (view) => view.setUint8(255, 1), 'bad_kv'],
  ])('%s is refused before a tile is read', async (_, change, code) => {
    const found = await readBack(cut(withHead(change)))
    expect([found.code, found.tiles]).toEqual([code, 0])
  })

  test('of residuals needs the predictor', async () => {
    const range: KvRange = { ...wireRange, codec: 'residual', promptTokens: 120, table: new Uint8Array(8) }
    const identity = { ...wireBinding.identity, predictor: 'd4'.repeat(32) }
    const bytes = joinBytes(await wirePieces({ ...wireBinding, identity }, range))
    expect(await codeOf(bytes)).toBe('wrong_model')
    expect(await codeOf(bytes, { binding: { ...wireBinding, identity } })).toBe('read')
  })
})

describe('a body that', () => {
  test('fails reports its own error', async () => {
    async function* failing() {
      yield stream.subarray(0, 700)
      throw new TypeError('terminated')
    }
    await expect(readBack(failing())).rejects.toThrow('terminated')
  })

  test('hangs is abandoned when the caller cancels, and its source is cancelled', async () => {
    const controller = new AbortController()
    let returned = false
    const hanging = {
      [Symbol.asyncIterator]: () => ({
        begun: false,
        next(): Promise<IteratorResult<Uint8Array>> {
          if (this.begun) return new Promise(() => {})
          this.begun = true
          return Promise.resolve({ done: false, value: stream.subarray(0, 700) })
        },
        async return() {
          returned = true
          return { done: true as const, value: undefined }
        },
      }),
    }
    setTimeout(() => controller.abort(), 5)
    const { code, tiles } = await readBack(hanging, { signal: controller.signal })
    expect([code, tiles, returned]).toEqual(['aborted', 0, true])
  })

  test('yields anything but bytes is refused', async () => {
    const text = (async function* () {
      yield 'FTKVWIRE' as unknown as Uint8Array
    })()
    expect((await readBack(text)).code).toBe('bad_kv')
  })

  test('is refused is read no further', async () => {
    let given = 0
    async function* counting() {
      for (let at = 0; at < stream.length; at += 100) {
        given++
        yield stream.subarray(at, at + 100)
      }
    }
    await readBack(counting(), { to: 100 })
    expect(given).toBe(3)
  })
})
