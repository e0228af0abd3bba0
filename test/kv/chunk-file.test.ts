/** Files of chunks: read back as written, and refused if anything about them is not as it was. */
import { describe, expect, test } from 'vitest'
import { joinBytes } from '../../src/base/bytes.ts'
import { ForetokenError } from '../../src/base/errors.ts'
import { type ChunkBinding, encodeChunks, openChunks, reboundChunks } from '../../src/kv/chunk-file.ts'
import { memorySource } from '../../src/model/source.ts'
import fc from '../helpers/properties.ts'
import { random } from '../helpers/random.ts'

const binding: ChunkBinding = { model: 'tiny', fingerprint: 'ab'.repeat(32), vocab: 1000, widths: [6, 2] }
const rng = random(13)
/** Finite: the exponent never has all of its bits. */
const halves = (count: number) => Uint16Array.from({ length: count }, () => rng.below(0x7c00))
const chunks = [7, 30].map((tokens) => ({
  ids: Array.from({ length: tokens }, () => rng.below(1000)),
  layers: binding.widths.map((width) => halves(tokens * width)),
}))
const file = await encodeChunks(chunks, binding)

async function readAll(bytes: Uint8Array, to: ChunkBinding = binding) {
  const opened = await openChunks(memorySource('x.chunks', bytes), to)
  return Promise.all(opened.chunks.map((_, index) => opened.read(index)))
}

const codeOf = (bytes: Uint8Array, to?: ChunkBinding) =>
  readAll(bytes, to).then(
    () => 'read',
    (error) => (error instanceof ForetokenError ? error.code : `threw ${error}`),
  )

async function sha256(bytes: Uint8Array<ArrayBuffer>) {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes))
}

/** Returns the same file with another head and a right hash of it. */
async function withHead(change: (head: Record<string, unknown>) => unknown, data?: Uint8Array): Promise<Uint8Array> {
  const headBytes = new DataView(file.buffer).getUint32(12, true)
  const head = JSON.parse(new TextDecoder().decode(file.subarray(64, 64 + headBytes)))
  const text = new TextEncoder().encode(JSON.stringify(change(head) ?? head))
  const padded = new Uint8Array(Math.ceil(text.length / 64) * 64).fill(0x20)
  padded.set(text)
  const begin = file.slice(0, 64)
  new DataView(begin.buffer).setUint32(12, padded.length, true)
  begin.set(await sha256(padded), 16)
  return joinBytes([begin, padded, data ?? file.subarray(64 + headBytes)])
}

const listed = (count: number, ids: unknown = [1]) => Array.from({ length: count }, () => ({ ids, sha256: '' }))

describe('a file of chunks', () => {
  test('reads back as written', async () => {
    expect(await readAll(file)).toEqual(chunks)
    // Also in the middle of a larger buffer.
    const shifted = new Uint8Array(file.length + 7)
    shifted.set(file, 7)
    expect(await readAll(shifted.subarray(7))).toEqual(chunks)
    const { bytes } = await openChunks(memorySource('x', file), binding)
    expect(bytes).toBe(37 * 16)
  })

  test('bound to other weights holds the same', async () => {
    const pieces = []
    for await (const piece of reboundChunks(memorySource('x', file), 'cd'.repeat(32))) pieces.push(piece)
    const rebound = joinBytes(pieces)
    expect(await codeOf(rebound)).toBe('wrong_model')
    expect(await readAll(rebound, { ...binding, fingerprint: 'cd'.repeat(32) })).toEqual(chunks)
  })

  test.each<[string, Partial<ChunkBinding>, string]>([
    ['another model', { fingerprint: 'cd'.repeat(32) }, 'wrong_model'],
    ['another shape', { widths: [2, 6] }, 'wrong_model'],
    ['another vocabulary', { vocab: 5 }, 'bad_prefix'],
  ])('of %s is refused', async (_, change, code) => {
    expect(await codeOf(file, { ...binding, ...change })).toBe(code)
  })

  test('truncated or extended anywhere is refused', async () => {
    for (let length = 0; length < file.length; length++)
      expect(await codeOf(file.slice(0, length))).toMatch(/^(bad_prefix|checksum)$/)
    expect(await codeOf(Uint8Array.from([...file, 0]))).toBe('bad_prefix')
  })

  test('with any byte changed is refused, but for the reserved ones', async () => {
    const somewhere = fc.oneof(fc.nat(47), fc.integer({ min: 64, max: file.length - 1 }))
    await fc.assert(
      fc.asyncProperty(somewhere, fc.integer({ min: 1, max: 255 }), async (at, by) => {
        const damaged = file.slice()
        damaged[at] = damaged[at]! ^ by
        expect(await codeOf(damaged)).toMatch(/^(bad_prefix|checksum)$/)
      }),
      { numRuns: 500 },
    )
  })

  test.each<[string, (head: Record<string, unknown>) => unknown, string]>([
    ['no object', () => 'text', 'bad_prefix'],
    ['no chunks', (head) => ({ ...head, chunks: [] }), 'bad_prefix'],
    ['chunks that are no list', (head) => ({ ...head, chunks: { length: 2 } }), 'bad_prefix'],
    ['chunks that are nothing', (head) => ({ ...head, chunks: [null, null] }), 'bad_prefix'],
    ['more chunks than there are', (head) => ({ ...head, chunks: listed(64) }), 'bad_prefix'],
    ['chunks without tokens', (head) => ({ ...head, chunks: listed(2, []) }), 'bad_prefix'],
    ['layers that are no list', (head) => ({ ...head, widths: 8 }), 'bad_prefix'],
    ['layers of no size', (head) => ({ ...head, widths: [0, 8] }), 'bad_prefix'],
    ['huge layers', (head) => ({ ...head, widths: [2 ** 52, 8] }), 'bad_prefix'],
    ['layers of fractions', (head) => ({ ...head, widths: [7.5, 0.5] }), 'bad_prefix'],
    ['other layers', (head) => ({ ...head, widths: [4, 4] }), 'wrong_model'],
    ['a token outside the vocabulary', (head) => ({ ...head, chunks: listed(37, [1000]) }), 'bad_prefix'],
    ['a negative token', (head) => ({ ...head, chunks: listed(37, [-1]) }), 'bad_prefix'],
    ['a token that is no number', (head) => ({ ...head, chunks: listed(37, ['1']) }), 'bad_prefix'],
    ['other hashes', (head) => ({ ...head, chunks: listed(37) }), 'checksum'],
    ['a fingerprint that is no text', (head) => ({ ...head, fingerprint: 7 }), 'wrong_model'],
  ])('whose head has %s is refused, although its hash is right', async (_, change, code) => {
    expect(await codeOf(await withHead(change))).toBe(code)
  })

  test.each([0x7c00, 0xfc00, 0x7e00, 0x7c01])('with the number %i, which is not finite, is refused', async (half) => {
    const layers = binding.widths.map((width) => new Uint16Array(3 * width))
    layers[1]![5] = half
    const error = await readAll(await encodeChunks([{ ids: [1, 2, 3], layers }], binding)).catch((caught) => caught)
    expect(error).toMatchObject({ code: 'bad_prefix', message: expect.stringMatching(/chunk 0 .* not finite/) })
  })

  test('of a later version is reported as such', async () => {
    const later = file.slice()
    later[8] = 2
    await expect(readAll(later)).rejects.toMatchObject({ message: expect.stringContaining('version 2') })
  })

  test('that claims a huge head allocates nothing for it', async () => {
    const begin = file.slice(0, 64)
    new DataView(begin.buffer).setUint32(12, 0xffffffc0, true)
    const source = {
      name: 'huge',
      size: 2 ** 40,
      async read(offset: number, into: Uint8Array) {
        expect(into.length).toBeLessThanOrEqual(64)
        into.set(begin.subarray(offset, offset + into.length))
      },
    }
    await expect(openChunks(source, binding)).rejects.toMatchObject({ code: 'bad_prefix' })
  })
})
