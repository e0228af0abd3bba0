/** Texts as people's tools write them. */
import { writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readLines } from '../../cli/batch/read-lines.ts'
import { decodePieces, decodeText, readPrompt } from '../../cli/text.ts'
import fc from '../helpers/properties.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'foretoken-text-'))
})
afterAll(() => rm(folder, { recursive: true, force: true }))

function encoded(text: string, encoding: 'utf8' | 'utf16le' | 'utf16be', mark: boolean): Buffer {
  const bytes = Buffer.from(mark ? `\ufeff${text}` : text, encoding === 'utf8' ? 'utf8' : 'utf16le')
  return encoding === 'utf16be' ? bytes.swap16() : bytes
}

const good: readonly [string, Buffer][] = [
  ['UTF-8', encoded('héllo €', 'utf8', false)],
  ['UTF-8 with a mark', encoded('héllo €', 'utf8', true)],
  ['UTF-16 of either order', encoded('héllo €', 'utf16le', true)],
  ['UTF-16 of the other order', encoded('héllo €', 'utf16be', true)],
]
const bad: readonly [string, Buffer][] = [
  ['Latin-1', Buffer.from('h\xe9llo', 'latin1')],
  ['UTF-16 without a mark', encoded('hello', 'utf16le', false)],
  ['half a character of UTF-16', encoded('hello', 'utf16le', true).subarray(0, -1)],
  ['half a pair of UTF-16', encoded('\ud83d', 'utf16le', true)],
  ['UTF-32', Buffer.from([0xff, 0xfe, 0, 0, 104, 0, 0, 0])],
  ['UTF-32 of the other order', Buffer.from([0, 0, 0xfe, 0xff, 0, 0, 0, 104])],
  ['half a character of UTF-8', Buffer.from('€').subarray(0, 2)],
  ['NUL', Buffer.from('a\0b')],
]

async function inPieces(bytes: Uint8Array, size: number): Promise<string> {
  async function* pieces() {
    for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
  }
  let text = ''
  for await (const piece of decodePieces(pieces(), 'stdin')) text += piece
  return text
}

describe('texts', () => {
  test.each(good)('%s is read, whole and in pieces of any size', async (_, bytes) => {
    expect(decodeText(bytes, 'x')).toBe('héllo €')
    for (const size of [1, 2, 3, 7, 100]) expect(await inPieces(bytes, size)).toBe('héllo €')
  })

  test.each(bad)('%s is refused, whole and in pieces of any size', async (_, bytes) => {
    expect(() => decodeText(bytes, 'x')).toThrow(expect.objectContaining({ code: 'bad_argument' }))
    for (const size of [1, 2, 3, 7, 100])
      await expect(inPieces(bytes, size)).rejects.toMatchObject({ code: 'bad_argument' })
  })

  test('of any kind decode the same in pieces as whole', async () => {
    const text = fc
      .string({ unit: 'binary', maxLength: 30 })
      .filter((text) => !text.includes('\0') && text[0] !== '\ufeff')
    const property = fc.asyncProperty(
      text,
      fc.constantFrom('utf8' as const, 'utf16le' as const, 'utf16be' as const),
      fc.integer({ min: 1, max: 8 }),
      async (text, encoding, size) => {
        const bytes = encoded(text, encoding, true)
        expect(decodeText(bytes, 'x')).toBe(text)
        expect(await inPieces(bytes, size)).toBe(text)
      },
    )
    await fc.assert(property, { numRuns: 200 })
  })

  test.each([
    ['a\n', 'a'],
    ['a\r\n', 'a'],
    ['a\n\n', 'a\n'],
    ['a', 'a'],
    ['\ufeffa\n', 'a'],
    ['', ''],
  ])('a prompt of %j is %j', async (text, expected) => {
    const path = join(folder, 'prompt.txt')
    writeFileSync(path, text)
    expect(await readPrompt(path)).toBe(expected)
  })

  test('endless texts and missing files are refused', async () => {
    await expect(readPrompt('/dev/zero')).rejects.toMatchObject({ code: 'bad_argument' })
    await expect(readPrompt(join(folder, 'none'))).rejects.toMatchObject({ code: 'not_found' })
  })
})

describe('lines of a batch', () => {
  const all = async (content: string | Buffer) => {
    const path = join(folder, 'lines.jsonl')
    writeFileSync(path, content)
    const found: { text: string; end: number }[] = []
    for await (const { bytes, end } of readLines(path)) found.push({ text: Buffer.from(bytes!).toString(), end })
    return found
  }

  test('begin after the byte order mark, and end where they end in the file', async () => {
    expect(await all('\ufeff{}\nb')).toEqual([
      { text: '{}', end: 6 },
      { text: 'b', end: 7 },
    ])
    expect(await all('a\n')).toEqual([{ text: 'a', end: 2 }])
    expect(await all('\n')).toEqual([{ text: '', end: 1 }])
    expect(await all('')).toEqual([])
  })

  test('in UTF-16 are refused', async () => {
    for (const order of ['utf16le', 'utf16be'] as const)
      await expect(all(encoded('{"prompt": "x"}\n', order, true))).rejects.toMatchObject({ code: 'bad_argument' })
  })
})
