/** Unigram models and charsmaps by their rules, and the files that are refused. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { Charsmap } from '../../src/tokens/charsmap.ts'
import { encoderTokenizers } from '../../src/tokens/encoder-tokenizers.ts'
import { clusterEnd } from '../../src/tokens/graphemes.ts'
import { createTokenizer } from '../../src/tokens/tokenizer.ts'
import { Unigram } from '../../src/tokens/unigram.ts'
import { specOf } from '../helpers/tokenizer-spec.ts'

type Piece = readonly [string, number]
const pieces = (...texts: Piece[]): Piece[] => [['<unk>', 0], ...texts]

function idsOf(word: string, vocab: readonly Piece[], byteFallback = false, special: readonly number[] = []): number[] {
  const unigram = new Unigram({ pieces: vocab, unknown: 0, byteFallback, special: new Set(special) })
  const ids: number[] = []
  unigram.encode(word, ids)
  return ids
}

describe('pieces', () => {
  test('the best sum wins, as in the documentation of the reference', () => {
    const vocab = pieces(['a', 0], ['b', 0], ['c', 0], ['d', 0], ['cd', 1], ['ab', 2], ['abc', 5], ['abcd', 10])
    expect(idsOf('abcdacdxx', vocab)).toEqual([8, 1, 5, 0])
  })

  test('of equal sums the one with the longer last piece wins', () => {
    expect(idsOf('abc', pieces(['a', -1], ['b', -1], ['c', -1], ['ab', -1], ['bc', -1]))).toEqual([1, 5])
  })

  test('unknown characters are one token, the tokens of their bytes, or a piece that they make together', () => {
    const bytes = Array.from(
      { length: 256 },
      (_, byte): Piece => [`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`, 0],
    )
    const vocab = pieces(['a', -1], ...bytes)
    expect(idsOf('éa😀é', vocab)).toEqual([0, 1, 0])
    expect(idsOf('éa', vocab, true)).toEqual([2 + 0xc3, 2 + 0xa9, 1])
    // A byte without a token.
    expect(idsOf('éa', vocab.slice(0, 100), true)).toEqual([0, 1])
    // Two unknown characters have 2 * 90, and the piece 100.
    expect(
      idsOf('xy', [
        ['<unk>', 200],
        ['xy', 100],
      ]),
    ).toEqual([1])
  })

  test('equal pieces count as the last, empty ones never, and special ones are not found', () => {
    expect(idsOf('ab', pieces(['a', -1], ['', 5], ['b', -1], ['b', -2]))).toEqual([1, 4])
    expect(idsOf('<s>', pieces(['<s>', 0], ['<', -1], ['s', -1], ['>', -1]), false, [1])).toEqual([2, 3, 4])
  })

  test('sums beyond the largest number do no harm', () => {
    const vocab = pieces(['a', 1e308], ['b', -1e308], ['aa', 1e308], ['bb', -1e308])
    expect(idsOf('a'.repeat(10) + 'b'.repeat(10), vocab).length).toBeGreaterThan(0)
  })

  test('a long word takes linear time', () => {
    const vocab = pieces(...Array.from({ length: 64 }, (_, at): Piece => ['a'.repeat(at + 1), -1]))
    expect(idsOf('a'.repeat(1 << 15), vocab)).toHaveLength((1 << 15) / 64)
    // A quadratic search would take 10^11 steps.
    expect(idsOf('x'.repeat(1 << 19), vocab)).toEqual([0])
  })
})

const base = {
  version: '1.0',
  added_tokens: [],
  normalizer: null,
  pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true },
  model: { type: 'Unigram', unk_id: 0, vocab: pieces(['▁', -1], ['a', -1]), byte_fallback: false },
}
const open = (changes: object) => createTokenizer(specOf({ ...base, ...changes }), encoderTokenizers)
const model = (changes: object) => ({ model: { ...base.model, ...changes } })

/** Returns a charsmap of a trie and texts. */
function charsmap(units: readonly number[], texts: string | Uint8Array = 'x\0', size = 4 * units.length): Uint8Array {
  const blob = typeof texts === 'string' ? new TextEncoder().encode(texts) : texts
  const file = new Uint8Array(4 + 4 * units.length + blob.length)
  const view = new DataView(file.buffer)
  view.setUint32(0, size, true)
  for (const [index, unit] of units.entries()) view.setUint32(4 + 4 * index, unit >>> 0, true)
  file.set(blob, 4 + 4 * units.length)
  return file
}

const leaf = 0x80000000
/** A unit of the trie: its label, where its children are from it, and whether a leaf is among them. */
const unit = (label: number, offset: number, hasLeaf = false) => (label | (offset << 10) | (hasLeaf ? 0x100 : 0)) >>> 0
const base64 = (file: Uint8Array) => btoa(String.fromCharCode(...file))

/** A trie of 512 units that has "a", and "b" behind it, as sentencepiece would lay it out. */
function sound(): number[] {
  const units = new Array<number>(512).fill(0)
  units[0] = unit(0, 256)
  units[256 ^ 0x61] = unit(0x61, 0x80, true)
  units[256 ^ 0x61 ^ 0x80] = leaf
  return units
}

describe('a charsmap', () => {
  test('replaces what it has', () => {
    expect(new Charsmap(charsmap(sound(), 'xyz\0')).normalize('bab', 100)).toBe('bxyzb')
    expect(new Charsmap(charsmap(sound(), '\0')).normalize('bab', 100)).toBe('bb')
    expect(new Charsmap(charsmap(sound(), 'no end')).normalize('a', 100)).toBe('no end')
    // A cluster of up to five bytes becomes what its shortest key says; a longer one goes character by character.
    expect(new Charsmap(charsmap(sound())).normalize('a\u0301 a\u0301\u0302 a\u0301\u0302\u0303', 100)).toBe(
      'x x x\u0301\u0302\u0303',
    )
  })

  const far = sound()
  far[7] = unit(7, 1 << 16)
  const wide = sound()
  wide[7] = 0x200 | (1 << 10)
  const noLeaf = sound()
  noLeaf[256 ^ 0x61 ^ 0x80] = 5
  const beyond = sound()
  beyond[256 ^ 0x61 ^ 0x80] = leaf | 9
  test.each<[string, Uint8Array, RegExp]>([
    ['nothing', new Uint8Array(0), /0 bytes has a trie of 0/],
    ['no trie', charsmap([]), /a trie of 0/],
    ['half a number', charsmap(sound(), 'x\0', 2047), /trie of 2047/],
    ['a trie that is cut', charsmap(sound(), '', 1 << 20), /trie of 1048576/],
    ['a trie that is too short', charsmap([unit(0, 1)]), /unit 0 .* beyond the trie/],
    ['children far away', charsmap(far), /unit 7 .* beyond the trie/],
    ['children further away', charsmap(wide.slice(0, 256)), /beyond the trie/],
    ['a leaf that is none', charsmap(noLeaf), /leaf without a text/],
    ['a text beyond the end', charsmap(beyond), /leaf without a text/],
    ['a text that is not UTF-8', charsmap(sound(), Uint8Array.of(0xc3, 0)), /text 0 .* not UTF-8/],
  ])('with %s is refused', (_, file, why) => {
    const normalizer = { type: 'Precompiled', precompiled_charsmap: base64(file) }
    expect(() => open({ normalizer })).toThrow(
      expect.objectContaining({ code: 'bad_model', message: expect.stringMatching(why) }),
    )
  })

  test('whose units lead back to themselves ends', () => {
    const units = new Array<number>(256).fill(0)
    for (let byte = 1; byte < 256; byte++) units[byte] = unit(byte, byte)
    units[0] = unit(0, 0)
    expect(new Charsmap(charsmap(units)).normalize('aaaa\u0301b'.repeat(100), 1e6)).toHaveLength(600)
  })

  test('that makes a text much longer is stopped', () => {
    const file = charsmap(sound(), `${'x'.repeat(5000)}\0`)
    const { encode } = open({ normalizer: { type: 'Precompiled', precompiled_charsmap: base64(file) } })
    expect(() => encode('a'.repeat(100))).toThrow(/makes a text longer than 3936 characters/)
  })
})

test('clusters end where the rules of Unicode say', () => {
  const clusters = (text: string) => {
    const found: string[] = []
    for (let from = 0; from < text.length; ) {
      const end = clusterEnd(text, from)
      found.push(text.slice(from, end))
      from = end
    }
    return found
  }
  for (const whole of [
    '\r\n',
    'e\u0301',
    'กำ',
    '각',
    '한\u11ab',
    '👩‍👩‍👧',
    '👍🏽',
    '🇩🇪',
    'क्ष',
    '\u0600a',
    '\u0301\u0302',
  ])
    expect(clusters(`${whole}x${whole}`)).toEqual(
      whole.startsWith('\u0301') ? [whole, `x${whole}`] : [whole, 'x', whole],
    )
  expect(clusters('\n\u0301')).toEqual(['\n', '\u0301'])
  expect(clusters('🇩🇪🇫🇷🇯')).toEqual(['🇩🇪', '🇫🇷', '🇯'])
  // The runtime's own segmenter agrees on texts of many kinds, but for characters that are newer than its tables.
  const golden = readFileSync(new URL('../vectors/tiny-xlmr-onnx/golden.json', import.meta.url), 'utf8')
  const segmenter = new Intl.Segmenter('en')
  for (const text of JSON.parse(golden).texts as string[])
    expect(clusters(text), JSON.stringify(text)).toEqual([...segmenter.segment(text)].map(({ segment }) => segment))
})

describe('refused', () => {
  test.each<[string, object, string, RegExp]>([
    ['an object of pieces', model({ vocab: {} }), 'bad_model', /vocab is an object/],
    ['a piece without a score', model({ vocab: [['a']] }), 'bad_model', /piece 0 .* not a text and its score/],
    ['a score that is a text', model({ vocab: [['a', '1']] }), 'bad_model', /not a text and its score/],
    ['a score too large', model({ vocab: JSON.parse('[["a",1e999]]') }), 'bad_model', /score of piece 0 .* Infinity/],
    ['a score that is no number', model({ vocab: [['a', Number.NaN]] }), 'bad_model', /score of piece 0 .* NaN/],
    ['half of a pair', model({ vocab: [['\ud83d', 0]] }), 'bad_model', /piece 0/],
    ['a long piece', model({ vocab: [['a'.repeat(257), 0]] }), 'bad_model', /257 characters; at most 256/],
    ['no unk_id', model({ unk_id: null }), 'unsupported', /unk_id is missing.*name the id/],
    ['an unk_id outside', model({ unk_id: 3 }), 'bad_model', /unk_id is 3, and its vocab has 3 pieces/],
    ['no pieces', model({ vocab: [] }), 'bad_model', /unk_id is 0/],
    ['byte_fallback that is a text', model({ byte_fallback: 'no' }), 'bad_model', /byte_fallback is "no"/],
    ['a charsmap of null', { normalizer: { type: 'Precompiled', precompiled_charsmap: null } }, 'bad_model', /base64/],
    ['no base64', { normalizer: { type: 'Precompiled', precompiled_charsmap: '?' } }, 'bad_model', /not base64/],
    [
      'an unknown scheme',
      { pre_tokenizer: { type: 'Metaspace', prepend_scheme: 'last' } },
      'bad_model',
      /prepend_scheme/,
    ],
    ['split that is a text', { pre_tokenizer: { type: 'Metaspace', split: 'no' } }, 'bad_model', /split/],
  ])('%s', (_, changes, code, why) => {
    expect(() => open(changes)).toThrow(expect.objectContaining({ code, message: expect.stringMatching(why) }))
  })

  test('and a model that answers', () => {
    expect(() => createTokenizer(specOf(base))).toThrow(/model is "Unigram"; only BPE is supported/)
  })
})

test('stripping takes the white space of Unicode, at each end that is asked for', () => {
  const ids = (left: boolean, right: boolean) => {
    const normalizer = { type: 'Strip', strip_left: left, strip_right: right }
    const vocab = pieces(['a', -1], ['\u0085', -1], ['\ufeff', -1])
    return open({ normalizer, pre_tokenizer: null, ...model({ vocab }) }).encode('\u0085\ufeffa\ufeff\u0085')
  }
  expect(ids(true, true)).toEqual([3, 1, 3])
  expect(ids(true, false)).toEqual([3, 1, 3, 2])
  expect(ids(false, true)).toEqual([2, 3, 1, 3])
  expect(ids(false, false)).toEqual([2, 3, 1, 3, 2])
})

test('a special token that is a word of a WordPiece is not found in a text', () => {
  const vocab = { '[UNK]': 0, sep: 1, s: 2, '##e': 3, '##p': 4 }
  const { encode } = open({
    added_tokens: [{ id: 1, content: 'sep', special: true }],
    model: { type: 'WordPiece', vocab, unk_token: '[UNK]' },
    pre_tokenizer: { type: 'WhitespaceSplit' },
  })
  expect(encode('sep')).toEqual([2, 3, 4])
  expect(encode('sep', { special: true })).toEqual([1])
})
