/** Compares encoding with the library's own path over a whole text, and measures its work. */
import { Tokenizer as Library } from '@huggingface/tokenizers'
import { describe, expect, test, vi } from 'vitest'
import { MergeRanks } from '../../src/tokens/merge-ranks.ts'
import { promptIds } from '../../src/tokens/prompt.ts'
import { createTokenizer, toEnd } from '../../src/tokens/tokenizer.ts'
import fc from '../helpers/properties.ts'
import { smallSpec, smallTokenizer } from '../helpers/small-bpe.ts'

const spec = smallSpec()
const tokenizer = smallTokenizer()
const digits = { type: 'Digits', individual_digits: true }

/**
 * Returns a text's ids by the library alone, whose digits are ASCII's and white space JavaScript's.
 */
function byLibrary(json: Record<string, unknown>, text: string): number[] {
  return new Library(json as never, {} as never).encode(text, { add_special_tokens: false }).ids
}

const pieces = fc.oneof(
  fc.constantFrom(
    '<|im_start|>',
    '<|im_end|>',
    '<think>',
    '</think>',
    '<|im_',
    'end|>',
    'the',
    ' word',
    'def f(x):\n    return',
    "'s",
  ),
  fc.string({ unit: 'grapheme', maxLength: 12 }),
  fc.string({ unit: fc.constantFrom(...' \n\tab1,.<|>_é漢😀'), maxLength: 30 }),
  fc.nat(300).map((length) => ' '.repeat(length)),
  fc.stringMatching(/^[a-z0-9 ]{0,200}$/),
)
const texts = fc
  .array(pieces, { maxLength: 12 })
  .map((parts) => parts.join('').toWellFormed())
  // The library counts U+FEFF as white space but not U+0085, and only ASCII digits as digits.
  .filter((text) => !/[\ufeff\u0085]|(?![0-9])\p{N}/u.test(text))

describe('ids equal those of the library', () => {
  const json = (model: object = {}, more: object = {}) => ({
    ...spec.json,
    ...more,
    model: { ...(spec.json.model as object), ...model },
  })
  test.each([
    ['byte-level words', json()],
    ['words that ignore merges', json({ ignore_merges: true })],
    [
      'a text of one word',
      json({}, { pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: false } }),
    ],
    ['normalized text', json({}, { normalizer: { type: 'NFC' } })],
    [
      'letters, bytes where a letter is no token',
      json({ byte_fallback: true, unk_token: '!', fuse_unk: false }, { pre_tokenizer: digits }),
    ],
  ])('%s', (_, changed) => {
    const library = new Library(changed as never, {} as never)
    const ours = createTokenizer({ ...spec, json: changed })
    fc.assert(
      fc.property(texts, (text) => {
        expect(ours.encode(text, { special: true })).toEqual(library.encode(text, { add_special_tokens: false }).ids)
      }),
      { numRuns: 150 },
    )
  })

  test('a word of any length, by scanning and by the heap', () => {
    for (const length of [1, 2, 47, 48, 49, 500, 3000]) {
      const text = 'the answer and the question '
        .repeat(Math.ceil(length / 28))
        .slice(0, length)
        .replaceAll(' ', 'x')
      expect(tokenizer.encode(text)).toEqual(byLibrary(spec.json, text))
    }
  })

  test('added tokens: the longest match, with its surrounding whitespace, not inside words', () => {
    const token = (id: number, content: string, more = {}) => ({
      id,
      content,
      special: false,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      ...more,
    })
    const added_tokens = [
      token(700, '<a>'),
      token(701, '<a><b>'),
      token(702, '<l>', { lstrip: true }),
      token(703, '<r>', { rstrip: true }),
      token(704, 'one', { single_word: true }),
    ]
    const { encode } = createTokenizer(smallSpec(undefined, { added_tokens }))
    expect(encode('<a><b><a>')).toEqual([701, 700])
    expect(encode('x  <l>  <r>  x')).toEqual([...encode('x'), 702, ...encode('  '), 703, ...encode('x')])
    expect(encode('one ones one')).toEqual([704, ...encode(' ones '), 704])
  })
})

describe('the cost of a text', () => {
  /** Returns the number of look-ups of token pairs, which all merging needs. */
  function looks(run: () => unknown): number {
    const get = vi.spyOn(MergeRanks.prototype, 'get')
    try {
      run()
      return get.mock.calls.length
    } finally {
      get.mockRestore()
    }
  }

  test('a text beyond the limit costs no more than the allowed ids', () => {
    const most = 100
    const words = (count: number) => Array.from({ length: count }, (_, n) => `word${n}`).join(' ')
    const ids = tokenizer.encode(words(30_000), { most })
    expect(ids.length).toBeGreaterThan(most)
    expect(ids.length).toBeLessThan(most + 20)
    expect(looks(() => tokenizer.encode(words(30_000), { most }))).toBe(
      looks(() => tokenizer.encode(words(300), { most })),
    )
  })

  test('a text of exactly the limit is complete, and one more token is refused', () => {
    const text = 'one two three four five'
    const { length } = tokenizer.encode(text)
    const whole = tokenizer.encode(text)
    expect(tokenizer.encode(text, { most: length })).toEqual(whole)
    expect(tokenizer.encode(text, { most: length - 1 }).length).toBe(length)
    const read = (context: number) => promptIds(tokenizer, spec, text, { raw: true, context })
    expect(read(length + 1)).toEqual(whole)
    expect(() => read(length)).toThrow(
      expect.objectContaining({
        code: 'context_exceeded',
        message: expect.stringContaining(`more than ${length - 1} tokens`),
      }),
    )
  })

  test('one word of 131,000 letters takes n log n', () => {
    const long = (letters: number) =>
      Array.from({ length: letters }, (_, n) => 'etaoinshrdlu'[(n * n + (n >> 3)) % 12]).join('')
    const one = looks(() => tokenizer.encode(long(13_100)))
    const ten = looks(() => tokenizer.encode(long(131_000)))
    expect(ten).toBeLessThan(15 * one)
  })

  test('a long text is processed in steps', () => {
    const steps = tokenizer.encodeSteps('word '.repeat(20_000))
    let count = 0
    while (!steps.next().done) count++
    expect(count).toBeGreaterThan(5)
    expect(toEnd(tokenizer.encodeSteps('a b c'))).toEqual(tokenizer.encode('a b c'))
  })

  test('no call makes a later one faster', () => {
    const secret = 'Pneumonoultramicroscopicsilicovolcanoconiosis of the heart'
    const first = looks(() => tokenizer.encode(secret))
    expect(first).toBeGreaterThan(20)
    for (let again = 0; again < 3; again++) expect(looks(() => tokenizer.encode(secret))).toBe(first)
    const other = looks(() => tokenizer.encode(secret.toUpperCase()))
    expect(looks(() => tokenizer.encode(secret.toUpperCase()))).toBe(other)
  })

  test('nor where merges are found by text', () => {
    const model = spec.json.model as { vocab: Record<string, number>; merges: unknown[] }
    const without = { ...spec.json, model: { ...model, merges: [...model.merges, ['no such', 'token']] } }
    const made = createTokenizer({ ...spec, json: without })
    const seen = vi.spyOn(Map.prototype, 'set')
    try {
      made.encode('Pneumonoultramicroscopicsilicovolcanoconiosis')
      expect(seen.mock.calls.filter(([key]) => String(key).includes('Pneumono')).length).toBeLessThanOrEqual(1)
      seen.mockClear()
      made.encode('Pneumonoultramicroscopicsilicovolcanoconiosis')
      // Entries are dropped at once: with a capacity of 0, the second call finds nothing of the
      // first.
      expect(seen.mock.calls.filter(([key]) => String(key).includes('Pneumono')).length).toBe(1)
    } finally {
      seen.mockRestore()
    }
  })
})

test('200,000 digits after the text of a special token do not overflow the stack', () => {
  const template = '{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content | trim }}<|im_end|>{% endfor %}'
  const prompt = `<|im_end|>${'7'.repeat(200_000)}`
  const read = (context: number) => promptIds(tokenizer, smallSpec(template), prompt, { context })
  expect(() => read(4096)).toThrow(expect.objectContaining({ code: 'context_exceeded' }))
  expect(read(1_000_000).length).toBeGreaterThan(200_000)
})
