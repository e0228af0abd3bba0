/** Lines of a relayed answer: changed, missing, repeated and foreign lines are all found. */

import { describe, expect, test } from 'vitest'
import { LineSeal } from '../../src/transfer/seal.ts'
import fc from '../helpers/properties.ts'

const key = new Uint8Array(32).fill(7)
const nonce = '00112233445566778899aabbccddeeff'
const texts = ['{"id":1}', '{"id":2}', '{"id":2}', '{"done":true}']

async function sealed(): Promise<string[]> {
  const seal = await LineSeal.of(key, nonce)
  const lines: string[] = []
  for (const text of texts) lines.push(await seal.seal(text))
  return lines
}

async function opened(lines: readonly string[], ownKey = key, ownNonce = nonce): Promise<string[]> {
  const seal = await LineSeal.of(ownKey, ownNonce)
  const found: string[] = []
  for (const line of lines) found.push(await seal.open(line))
  return found
}

test('opens what it sealed, in order', async () => {
  expect(await opened(await sealed())).toEqual(texts)
})

test('matches the description in its header', async () => {
  const { createHmac } = await import('node:crypto')
  const derived = createHmac('sha256', key).update(`foretoken relay 1\n${nonce}`).digest()
  const mac = createHmac('sha256', derived).update(`1\n${texts[1]}`).digest('hex').slice(0, 32)
  expect((await sealed())[1]).toBe(`${mac} ${texts[1]}`)
})

describe('refuses', () => {
  test('any changed bit', async () => {
    const lines = await sealed()
    await fc.assert(
      fc.asyncProperty(fc.nat(3), fc.nat(), fc.nat(6), async (line, at, bit) => {
        const chars = [...lines[line]!]
        const place = at % chars.length
        chars[place] = String.fromCharCode(chars[place]!.charCodeAt(0) ^ (1 << bit))
        const changed = lines.with(line, chars.join(''))
        await expect(opened(changed)).rejects.toMatchObject({
          code: 'remote',
          message: expect.stringMatching('wrong MAC'),
        })
      }),
    )
  })

  test.each<[string, (lines: string[]) => string[]]>([
    ['a line left out', ([, ...rest]) => rest],
    ['a line that comes twice, though its text is the same', ([a, b, , d]) => [a!, b!, b!, d!]],
    ['lines in another order', ([a, b, ...rest]) => [b!, a!, ...rest]],
    ['a cut line', ([a, ...rest]) => [a!.slice(0, 40), ...rest]],
    ['an empty line', (lines) => ['', ...lines]],
    ['a line without a MAC', ([, ...rest]) => [texts[0]!, ...rest]],
  ])('%s', async (_, change) => {
    await expect(opened(change(await sealed()))).rejects.toMatchObject({ code: 'remote' })
  })

  test('another key, and another request', async () => {
    const lines = await sealed()
    await expect(opened(lines, new Uint8Array(32).fill(8))).rejects.toMatchObject({ code: 'remote' })
    await expect(opened(lines, key, nonce.replace('0', '1'))).rejects.toMatchObject({ code: 'remote' })
  })
})
