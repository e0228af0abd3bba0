/** The packed vocabulary against a map of the same texts. */

import { describe, expect, test } from 'vitest'
import type { TokenizerSpec } from '../../src/base/model.ts'
import { packTexts } from '../../src/model/packed-texts.ts'
import { packedVocabularyOf, vocabOf } from '../../src/model/tokenizer-json.ts'
import { packVocabulary, Vocabulary } from '../../src/model/vocabulary.ts'
import { MergeRanks } from '../../src/tokens/merge-ranks.ts'
import { mergedIds, mergePairs } from '../../src/tokens/merges.ts'
import { createTokenizer } from '../../src/tokens/tokenizer.ts'
import fc from '../helpers/properties.ts'
import { specOf } from '../helpers/tokenizer-spec.ts'

const texts = fc.array(fc.string({ unit: 'binary', maxLength: 5 }), { maxLength: 60 })

describe('a packed vocabulary', () => {
  test('finds what a map finds, also within other texts', () => {
    fc.assert(
      fc.property(texts, fc.string({ unit: 'binary' }), (list, around) => {
        const vocabulary = new Vocabulary(packVocabulary(packTexts(list)))
        const map = new Map<string, number>()
        for (const [id, text] of list.entries()) if (text !== '' && !map.has(text)) map.set(text, id)
        for (const text of [...list, around]) {
          expect(vocabulary.idOf(text)).toBe(map.get(text))
          expect(vocabulary.find(around + text + around, around.length, around.length + text.length)).toBe(
            map.get(text),
          )
        }
        for (const [left, a] of list.entries())
          for (const [right, b] of list.slice(0, 8).entries())
            expect(vocabulary.findJoined(left, right)).toBe(map.get(a + b))
        for (const [id, text] of list.entries()) expect(vocabulary.textOf(id)).toBe(text === '' ? undefined : text)
        expect(vocabulary.size).toBe(list.length)
      }),
    )
  })

  test('of a tokenizer.json: holes have no text, and two texts may share an id', () => {
    const packed = packedVocabularyOf({ a: 3, b: 0, c: 3, __proto__x: 1 })
    const vocabulary = new Vocabulary(packed)
    expect(['a', 'b', 'c', 'd'].map((text) => vocabulary.idOf(text))).toEqual([3, 0, 3, undefined])
    expect([0, 1, 2, 3, 4].map((id) => vocabulary.textOf(id))).toEqual(['b', '__proto__x', undefined, 'a', undefined])
    expect({ ...vocabOf(packed, vocabulary) }).toEqual({ a: 3, b: 0, c: 3, __proto__x: 1 })
  })

  test('texts and merges chosen to collide are refused', () => {
    // Texts whose hashes share their low bits, found by trying as an attacker would.
    const mask = 2 ** 12 - 1
    const meets = (text: string) => {
      let hash = 0x811c9dc5
      for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193)
      return ((hash ^ (hash >>> 15)) & mask) === 0
    }
    const list: string[] = []
    for (let i = 0; list.length < 1100; i++) if (meets(i.toString(36))) list.push(i.toString(36))
    const filled = [...list, ...Array.from({ length: 2 ** 11 - list.length }, () => '')]
    expect(() => packVocabulary(packTexts(filled.slice(0, 2 ** 11)))).toThrow(/chosen so that finding one takes long/)
    expect(() => packVocabulary(packTexts([...list.slice(0, 1000), ...filled.slice(1100)]))).not.toThrow()
    expect(() => new MergeRanks(meeting(2200))).toThrow(/chosen so that finding one takes long/)
  })
})

/** Pairs (count) whose place is the same in a table of up to 2^13: the steps of the hash backwards. */
function meeting(count: number): Uint32Array {
  let inverse = 1
  for (let step = 0; step < 5; step++) inverse = Math.imul(inverse, 2 - Math.imul(0x9e3779b1, inverse))
  return Uint32Array.from({ length: 2 * count }, (_, at) => {
    const mixed = (at / 2) << 13
    return at % 2 === 1 ? 0 : Math.imul(inverse, mixed ^ (mixed >>> 15) ^ (mixed >>> 30))
  })
}

describe('merges', () => {
  const vocab = Object.fromEntries(['a', 'b', 'c', 'ab', 'abc'].map((text, id) => [text, id]))
  const spec = (merges: unknown, more = {}): TokenizerSpec => {
    const model = { type: 'BPE', vocab, merges, ...more }
    return specOf({ model, added_tokens: [], normalizer: null, pre_tokenizer: null })
  }

  test.each([
    ['as texts', ['a b', 'ab c']],
    ['as texts with more behind', ['a b x', 'ab c ']],
    [
      'as pairs',
      [
        ['a', 'b'],
        ['ab', 'c'],
      ],
    ],
  ])('%s become pairs of ids, and the token of each is found', (_, merges) => {
    const pairs = mergePairs(spec(merges))!
    expect([...pairs]).toEqual([0, 1, 3, 2])
    expect([...mergedIds(pairs, new Vocabulary(packedVocabularyOf(vocab)))!]).toEqual([3, 4])
    expect(createTokenizer(spec(merges)).encode('abcab')).toEqual([4, 3])
  })

  test('of texts that are not tokens, or that form none, are looked up by text', () => {
    expect(mergePairs(spec(['a x']))).toBeUndefined()
    expect(mergePairs(spec(['ab']))).toBeUndefined()
    expect(createTokenizer(spec(['a x', 'a b'])).encode('abc')).toEqual([3, 2])
    // "bc" is not a token, but an intermediate step to "abc".
    expect(createTokenizer(spec(['b c', 'a bc'])).encode('abc')).toEqual([4])
    const packed = packedVocabularyOf(vocab)
    const { vocab: _, merges: __, ...model } = spec([]).json.model as Record<string, unknown>
    const ids = {
      ...spec([]),
      json: { ...spec([]).json, model },
      vocabulary: packed,
      mergeIds: Uint32Array.of(0, 1, 1, 2),
    }
    expect(createTokenizer(ids).encode('abc')).toEqual([3, 2])
  })
})
