import { describe, expect, test } from 'vitest'
import { ForetokenError } from '../../src/base/errors.ts'
import { decodePrefix, encodePrefix, type PrefixBinding } from '../../src/kv/prefix-file.ts'
import fc from '../helpers/properties.ts'
import { random } from '../helpers/random.ts'

const binding: PrefixBinding = {
  model: 'tiny',
  fingerprint: 'ab'.repeat(32),
  vocab: 1000,
  pool: { type: 'int8', layers: 2, kvHeads: 1, headDim: 8, pageBytes: 96 },
}
const rng = random(11)
const prefix = {
  ids: Array.from({ length: 48 }, () => rng.below(1000)),
  pages: [rng.bytes(96), rng.bytes(96), rng.bytes(96)],
}
const file = await encodePrefix(prefix, binding)

const codeOf = async (bytes: Uint8Array, to: PrefixBinding = binding) =>
  decodePrefix(bytes, to).then(
    () => 'read',
    (error) => (error instanceof ForetokenError ? error.code : `threw ${error}`),
  )

/** Returns the same file with another head and a correct checksum. */
async function withHead(change: (head: Record<string, unknown>) => unknown): Promise<Uint8Array> {
  const headBytes = new DataView(file.buffer).getUint32(12, true)
  const head = JSON.parse(new TextDecoder().decode(file.subarray(16, 16 + headBytes)))
  const text = new TextEncoder().encode(JSON.stringify(change(head) ?? head))
  const padded = new Uint8Array(Math.ceil(text.length / 64) * 64).fill(0x20)
  padded.set(text)
  const body = [file.subarray(0, 16), padded, file.subarray(16 + headBytes, -32)]
  const all = new Uint8Array(body.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of body) {
    all.set(part, at)
    at += part.length
  }
  new DataView(all.buffer).setUint32(12, padded.length, true)
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', all))
  return Uint8Array.from([...all, ...hash])
}

describe('a prefix file', () => {
  test('reads back as written', async () => {
    expect(await decodePrefix(file, binding)).toEqual(prefix)
    // Also in the middle of a larger buffer.
    const shifted = new Uint8Array(file.length + 7)
    shifted.set(file, 7)
    expect(await decodePrefix(shifted.subarray(7), binding)).toEqual(prefix)
  })

  test.each<[string, Partial<PrefixBinding>, RegExp]>([
    ['another model', { fingerprint: 'cd'.repeat(32) }, /made by tiny \(abababababab\).*save it again/],
    [
      'another kind of K and V',
      { pool: { ...binding.pool, type: 'f32', pageBytes: 300 } },
      /load the engine with kv int8/,
    ],
    ['another shape', { pool: { ...binding.pool, layers: 4, headDim: 4 } }, /save the prefix again/],
  ])('of %s is refused', async (_, change, message) => {
    const error = await decodePrefix(file, { ...binding, ...change }).catch((caught) => caught)
    expect(error).toMatchObject({ code: 'wrong_model', message: expect.stringMatching(message) })
  })

  test('truncated or extended anywhere is refused', async () => {
    for (let length = 0; length < file.length; length++)
      expect(await codeOf(file.slice(0, length))).toMatch(/^(bad_prefix|checksum)$/)
    expect(await codeOf(Uint8Array.from([...file, 0]))).toBe('bad_prefix')
  })

  test('with any byte changed is refused', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(file.length - 1), fc.integer({ min: 1, max: 255 }), async (at, by) => {
        const damaged = file.slice()
        damaged[at] = damaged[at]! ^ by
        expect(await codeOf(damaged)).toMatch(/^(bad_prefix|checksum)$/)
      }),
      { numRuns: 500 },
    )
  })

  test.each<[string, (head: Record<string, unknown>) => unknown, string]>([
    ['no object', () => 'text', 'bad_prefix'],
    ['pages of no size', (head) => ({ ...head, page_bytes: 0, ids: [] }), 'bad_prefix'],
    ['more pages than there are', (head) => ({ ...head, ids: new Array(64).fill(1) }), 'bad_prefix'],
    ['half a page', (head) => ({ ...head, ids: new Array(40).fill(1) }), 'bad_prefix'],
    ['huge pages', (head) => ({ ...head, page_bytes: 2 ** 52 }), 'bad_prefix'],
    ['ids that are no list', (head) => ({ ...head, ids: { length: 48 } }), 'bad_prefix'],
    ['an id outside the vocabulary', (head) => ({ ...head, ids: new Array(48).fill(1000) }), 'bad_prefix'],
    ['a negative id', (head) => ({ ...head, ids: new Array(48).fill(-1) }), 'bad_prefix'],
    ['an id that is no number', (head) => ({ ...head, ids: new Array(48).fill('1') }), 'bad_prefix'],
    ['a fingerprint that is no text', (head) => ({ ...head, fingerprint: 7 }), 'wrong_model'],
    ['other page sizes', (head) => ({ ...head, page_bytes: 48, ids: new Array(96).fill(1) }), 'wrong_model'],
  ])('whose head has %s is refused, although its checksum is right', async (_, change, code) => {
    expect(await codeOf(await withHead(change))).toBe(code)
  })

  test('of a later version is reported as such', async () => {
    const later = file.slice()
    later[8] = 2
    await expect(decodePrefix(later, binding)).rejects.toMatchObject({ message: expect.stringContaining('version 2') })
  })
})
