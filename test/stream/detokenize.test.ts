import { describe, expect, test } from 'vitest'
import { createDetokenizer } from '../../src/stream/detokenize.ts'
import fc from '../helpers/properties.ts'

/** A vocabulary of the given byte strings; `specials` are markup. */
function vocabulary(tokens: readonly Uint8Array[], specials: readonly number[] = []) {
  return { tokenBytes: (id: number) => tokens[id]!, isSpecial: (id: number) => specials.includes(id) }
}

const utf8 = (text: string) => new TextEncoder().encode(text)
const whole = (tokens: readonly Uint8Array[]) =>
  new TextDecoder('utf-8', { ignoreBOM: true }).decode(Buffer.concat(tokens))

describe('detokenizer', () => {
  test('holds a character until its bytes are complete', () => {
    const [a, b, c, d] = utf8('😀')
    const detokenizer = createDetokenizer(vocabulary([Uint8Array.of(a!), Uint8Array.of(b!, c!), Uint8Array.of(d!, 33)]))
    expect([0, 1, 2].map((id) => detokenizer.push(id))).toEqual(['', '', '😀!'])
    expect(detokenizer.flush()).toBe('')
  })

  test('shows incomplete bytes as U+FFFD, at the end only', () => {
    const detokenizer = createDetokenizer(vocabulary([Uint8Array.of(0xe2, 0x82)]))
    expect(detokenizer.push(0)).toBe('')
    expect(detokenizer.flush()).toBe('\ufffd')
    expect(detokenizer.flush()).toBe('')
  })

  test('skips special tokens unless requested, even inside a character', () => {
    const tokens = [utf8('é').subarray(0, 1), utf8('<|im_end|>'), utf8('é').subarray(1)]
    const plain = createDetokenizer(vocabulary(tokens, [1]))
    expect([0, 1, 2].map((id) => plain.push(id))).toEqual(['', '', 'é'])
    expect(createDetokenizer(vocabulary(tokens, [1]), { special: true }).push(1)).toBe('<|im_end|>')
  })

  test('drops one leading space where configured', () => {
    const detokenizer = createDetokenizer(vocabulary([utf8(' Hi'), utf8(' '), new Uint8Array()]), {
      dropLeadingSpace: true,
    })
    expect([2, 0, 0].map((id) => detokenizer.push(id))).toEqual(['', 'Hi', ' Hi'])
    detokenizer.flush()
    expect([1, 1].map((id) => detokenizer.push(id))).toEqual(['', ' '])
  })

  test('keeps a byte order mark: it is text that a model wrote', () => {
    expect(createDetokenizer(vocabulary([utf8('\ufeffa')])).push(0)).toBe('\ufeffa')
  })

  test('in total equals decoding all bytes at once, for any bytes and any split', () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 4 }),
      fc.string({ unit: 'binary', maxLength: 3 }).map(utf8),
      fc
        .constantFrom(0xf0, 0x9f, 0x98, 0x80, 0xe2, 0x82, 0xed, 0xa0, 0xc0, 0xef, 0xbb, 0xbf)
        .map((b) => Uint8Array.of(b)),
    )
    fc.assert(
      fc.property(fc.array(bytes, { maxLength: 30 }), (tokens) => {
        const detokenizer = createDetokenizer(vocabulary(tokens))
        const shown = tokens.map((_, id) => detokenizer.push(id))
        expect(shown.join('') + detokenizer.flush()).toBe(whole(tokens))
      }),
      { numRuns: 2000 },
    )
  })
})
