/** SHA-256 in one turn gives what the platform's own gives. */
import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { sha256Sync } from '../../src/base/sha256.ts'

const hex = (text: string) => Buffer.from(sha256Sync(text)).toString('hex')

test('the digest equals that of the platform, at every length around the blocks, and for every kind of text', () => {
  const texts = Array.from({ length: 260 }, (_, length) => 'key-é€😀'.repeat(30).slice(0, length))
  for (const text of [...texts, 'x'.repeat(16_384), '\ud800'])
    expect(hex(text)).toBe(createHash('sha256').update(new TextEncoder().encode(text)).digest('hex'))
})

test('the digest of an empty text is the published one', () => {
  expect(hex('')).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
})
