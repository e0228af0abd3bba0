/**
 * Compares how texts are split into words with Hugging Face's `tokenizers` (test/vectors/words.py).
 */
import { describe, expect, test } from 'vitest'
import { preTokenizerOf } from '../../src/tokens/pre-tokenizer.ts'
import { readGolden } from '../golden/golden.ts'
import { type WordCases, wordsThatDiffer } from '../suites/words.ts'

const golden = readGolden<WordCases>('words.json', 'words')

describe('words', () => {
  test.each(Object.keys(golden.specs))('%s: split as in the reference', (name) => {
    const cases = golden.cases.filter((each) => each.name === name)
    expect(cases.length).toBeGreaterThan(10)
    expect(wordsThatDiffer({ ...golden, cases })).toEqual([])
  })

  test('words are split lazily', () => {
    const pattern = /a/gu
    const cut = preTokenizerOf({ type: 'Split', behavior: 'Isolated' }, { pattern })!
    const text = 'ba'.repeat(1_000_000)
    const words = cut(text, true)[Symbol.iterator]()
    expect([words.next().value, words.next().value]).toEqual(['b', 'a'])
  })

  test.each([
    ['a behavior that nobody knows', { type: 'Punctuation', behavior: 'Sideways' }],
    ['a split by nothing', { type: 'Split', pattern: {}, behavior: 'Isolated' }],
  ])('%s is refused', (_, spec) => expect(() => preTokenizerOf(spec, null)).toThrow(/behavior|neither/))

  test('an unknown type is left to the library', () => {
    expect(preTokenizerOf({ type: 'Replace' }, null)).toBeUndefined()
    expect(
      preTokenizerOf({ type: 'Sequence', pretokenizers: [{ type: 'Digits' }, { type: 'Other' }] }, null),
    ).toBeUndefined()
  })
})
