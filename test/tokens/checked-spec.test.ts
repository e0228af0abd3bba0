/**
 * Checks that a tokenizer.json is refused when it is opened if it would take more than linear time,
 * grow without bound or mean something else.
 */
import { describe, expect, test } from 'vitest'
import { limits } from '../../src/model/limits.ts'
import { createTokenizer } from '../../src/tokens/tokenizer.ts'
import { folderTokenizer, type TokenizerJson } from '../helpers/tiny-folder.ts'
import { specOf } from '../helpers/tokenizer-spec.ts'

function open(change: (json: TokenizerJson) => void) {
  const json = folderTokenizer()
  change(json)
  return createTokenizer(specOf(json))
}

const normalizer =
  (...normalizers: object[]) =>
  (json: TokenizerJson) => {
    json.normalizer = { type: 'Sequence', normalizers }
  }
const cutting =
  (...pretokenizers: object[]) =>
  (json: TokenizerJson) => {
    json.pre_tokenizer = { type: 'Sequence', pretokenizers }
  }
const model = (values: Record<string, unknown>) => (json: TokenizerJson) => {
  Object.assign(json.model, values)
}
const replace = (text: string, content: string) => ({ type: 'Replace', pattern: { String: text }, content })
const split = (pattern: string) => ({ type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false })
const bytes = { type: 'ByteLevel', add_prefix_space: false, use_regex: true }
const added = (count: number, content: (i: number) => string) => (json: TokenizerJson) => {
  json.added_tokens = Array.from({ length: count }, (_, i) => ({ id: i, content: content(i), special: true }))
}

describe('refused', () => {
  const bad: [string, (json: TokenizerJson) => void, string, RegExp][] = [
    ['a Split that backtracks', cutting(split('(a+)+c'), bytes), 'unsupported', /Split, "\(a\+\)\+c".*linear time/],
    ['a Split of runs that nothing takes', cutting(split('\\s+x')), 'unsupported', /run of \\s/],
    [
      'a Replace that backtracks',
      normalizer({ ...replace('', 'b'), pattern: { Regex: '(a|a)*b' } }),
      'unsupported',
      /Replace/,
    ],
    [
      'a Replace that doubles, again and again',
      normalizer(...new Array(7).fill(replace('a', 'aa'))),
      'unsupported',
      /128 times/,
    ],
    ['a Replace between all letters', normalizer(replace('', 'x'.repeat(64))), 'unsupported', /65 times/],
    [
      'compatibility forms, again and again',
      normalizer({ type: 'NFKC' }, { type: 'NFKD' }),
      'unsupported',
      /324 times/,
    ],
    ['a long Prepend', normalizer({ type: 'Prepend', prepend: 'a'.repeat(65) }), 'bad_model', /65 characters/],
    [
      'many short ones',
      normalizer(...new Array(9).fill({ type: 'Prepend', prepend: '12345678' })),
      'bad_model',
      /72 characters/,
    ],
    ['many steps', normalizer(...new Array(32).fill({ type: 'Strip' })), 'bad_model', /more than 32 steps/],
    ['bytes of bytes', cutting(bytes, bytes), 'unsupported', /ByteLevel twice/],
    ['marks before marks', cutting({ type: 'Metaspace' }, { type: 'Metaspace' }), 'unsupported', /Metaspace twice/],
    ['a long mark', cutting({ type: 'Metaspace', replacement: 'aa' }), 'bad_model', /"aa", not one character/],
    [
      'a mark that is written longer',
      cutting({ type: 'Metaspace', str_rep: 'aa' }),
      'bad_model',
      /"aa", not one character/,
    ],
    ['pieces of no length', cutting({ type: 'FixedLength', length: 0 }), 'bad_model', /length 0/],
    ['a Split without a pattern', cutting({ type: 'Split', pattern: {} }), 'bad_model', /neither a String nor a Regex/],
    ['an unknown normalizer', normalizer({ type: 'Precompiled' }), 'unsupported', /normalizer "Precompiled"/],
    ['an unknown pre-tokenizer', cutting({ type: 'UnicodeScripts' }), 'unsupported', /pre-tokenizer "UnicodeScripts"/],
    ['a normalizer that is a number', (json) => void (json.normalizer = 3), 'bad_model', /normalizer is 3/],
    [
      'Unigram',
      model({ type: 'Unigram', vocab: [['a', 0]], unk_id: 0 }),
      'unsupported',
      /model is "Unigram"; only BPE is supported/,
    ],
    ['WordPiece', model({ type: 'WordPiece' }), 'unsupported', /WordPiece/],
    ['WordLevel', model({ type: 'WordLevel' }), 'unsupported', /WordLevel/],
    ['a type from the prototype', model({ type: 'constructor' }), 'unsupported', /constructor/],
    ['merges at random', model({ dropout: 0.1 }), 'unsupported', /dropout 0\.1/],
    ['a suffix of words', model({ end_of_word_suffix: '</w>' }), 'unsupported', /end_of_word_suffix/],
    ['a prefix within words', model({ continuing_subword_prefix: '##' }), 'unsupported', /continuing_subword_prefix/],
    ['a list for the vocabulary', model({ vocab: [['a', 1]] }), 'bad_model', /vocab is a list/],
    ['an object for the merges', model({ merges: {} }), 'bad_model', /merges are an object/],
    ['an id beyond any vocabulary', model({ vocab: { a: 2 ** 32 - 2 } }), 'bad_model', /"a" has the id 4294967294/],
    ['an id that is a text', model({ vocab: { a: '1' } }), 'bad_model', /has the id "1"/],
    ['an added token of 257 letters', added(1, () => 'a'.repeat(257)), 'bad_model', /257 characters; at most 256/],
    ['added tokens with much text', added(1025, (i) => `${i}`.padStart(256, 'a')), 'bad_model', /262400 characters/],
    ['too many added tokens', added(limits.addedTokens + 1, (i) => `${i}`), 'bad_model', /32769 added tokens/],
    ['an added token without text', added(1, () => 7 as unknown as string), 'bad_model', /no content/],
  ]
  test.each(bad)('%s', (_, change, code, message) => {
    expect(() => open(change)).toThrow(
      expect.objectContaining({ name: 'ForetokenError', code, message: expect.stringMatching(message) }),
    )
  })
})

describe('accepted', () => {
  const good: [string, (json: TokenizerJson) => void][] = [
    ['six doublings', normalizer(...new Array(6).fill(replace('a', 'aa')))],
    ['a compatibility form', normalizer({ type: 'NFKC' }, { type: 'Lowercase' })],
    ['a Prepend of 64 letters', normalizer({ type: 'Prepend', prepend: 'a'.repeat(64) })],
    ['an added token of 256 letters', added(1, () => 'a'.repeat(256))],
    ['as much text of added tokens as may be', added(1024, (i) => `${i}`.padStart(256, 'a'))],
    [
      'a String pattern',
      cutting({ type: 'Split', pattern: { String: '(a+)+c' }, behavior: 'Isolated', invert: false }, bytes),
    ],
    ['digits and bytes', cutting({ type: 'Digits', individual_digits: true }, bytes)],
    ['null for everything', (json) => Object.assign(json, { normalizer: null, post_processor: null })],
    ['null for what a model may leave out', model({ dropout: null, end_of_word_suffix: null, unk_token: null })],
  ]
  test.each(good)('%s', (_, change) => expect(open(change).encode('a b').length).toBeGreaterThan(0))

  test('a run of trailing spaces is matched from its first space only', () => {
    const { encode } = open(cutting(split('\\s+$'), bytes))
    expect(encode('a  b  ')).toEqual(open(cutting(bytes)).encode('a  b  '))
    expect(encode(`${' '.repeat(100_000)}a`).length).toBeGreaterThan(1000)
  })
})

test('a replacement is literal text, whatever characters it holds', () => {
  const tokenizer = open(normalizer(replace('b', '$&$`')))
  expect(tokenizer.decode(tokenizer.encode('abc'))).toBe('a$&$`c')
})

test('a post-processor that repeats a text does not repeat its ids', () => {
  const repeat = (json: TokenizerJson) => {
    const sequence = { Sequence: { id: 'A', type_id: 0 } }
    json.post_processor = { type: 'TemplateProcessing', single: new Array(1000).fill(sequence), pair: [] }
  }
  expect(open(repeat).encode('abc', { special: true })).toEqual(open(() => {}).encode('abc', { special: true }))
})

test('an id without a token decodes to nothing', () => {
  const tokenizer = open(() => {})
  expect(tokenizer.tokenBytes(5000)).toHaveLength(0)
  expect(tokenizer.decode([...tokenizer.encode('ab'), 300, 5000])).toBe('ab')
})
