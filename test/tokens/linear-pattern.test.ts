/**
 * Checks that accepted patterns find all their matches in linear time, and that published ones are
 * accepted.
 */
import * as library from '@huggingface/tokenizers'
import { describe, expect, test } from 'vitest'
import { preTokenizers } from '../../src/model/pre-tokenizers.ts'
import { shortestMatch, whyNotLinear } from '../../src/tokens/linear-pattern.ts'
import fc from '../helpers/properties.ts'

interface Split {
  pre_tokenize_text(text: string): string[]
}

/** The package exports more than its types declare. */
const { SplitPreTokenizer } = library as unknown as { SplitPreTokenizer: new (config: object) => Split }

/** Returns the patterns of a pre-tokenizer, in order. */
function patternsOf(json: unknown): string[] {
  const { pattern, pretokenizers = [] } = json as { pattern?: { Regex: string }; pretokenizers?: unknown[] }
  return pattern ? [pattern.Regex] : pretokenizers.flatMap(patternsOf)
}

const known = new Set([...preTokenizers.values()].flatMap(({ json }) => patternsOf(json)))

/** Patterns of published tokenizer.json files. */
const published: Readonly<Record<string, string>> = {
  'Llama 3':
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  'Qwen 2 and 3':
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  'GPT-4o':
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
  Tekken:
    '[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+',
  'DeepSeek V3':
    '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+',
  Bloom: ' ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+',
  Bailing:
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
  'GPT-4, as tiktoken writes it':
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}++|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*+|\\s++$|\\s*[\\r\\n]|\\s+(?!\\S)|\\s",
  'runs of spaces': ' {2,}',
}

test.each([...known])('a pattern of a GGUF name is proved linear: %j', (pattern) => {
  expect(whyNotLinear(pattern)).toBeUndefined()
})

test.each(Object.entries(published))('a published pattern is proved linear: %s', (_, pattern) => {
  expect(whyNotLinear(pattern)).toBeUndefined()
})

test.each([
  ['nested repetition', '(a+)+c'],
  ['nested repetition, not captured', '(?:a*)*b'],
  ['a repeated choice', '(a|a)*b'],
  ['a repeated group', '(?:ab)+c'],
  ['a repeated group with bounds', '(?:a?){40}b'],
  ['something after a run', 'a+b'],
  ['two runs', 'a*a*b'],
  ['anything, and something', '.*x'],
  ['a run before the end', '\\s+$'],
  ['a run before newlines, which nothing takes', '\\s*[\\r\\n]+|x'],
  ['a run before newlines, of which only one is taken', '\\s*[\\r\\n]+|\\s|\\s+'],
  ['a run before a letter that it holds itself', '\\s+(?!x)'],
  ['capitals without their second form', '[A-Z]*[a-z]+'],
  ['capitals with another second form', '[A-Z]*[a-z]+x?|[A-Z]+[a-z]*'],
  ['digits in groups from the end', '\\d{1,3}(?=(?:\\d{3})*\\b)'],
  ['a far look ahead', '(?=(\\d{3})+(?!\\d))'],
  ['a far look back', '(?<=a+)b'],
  ['a back reference', '(a)\\1'],
  ['a named back reference', '(?<x>a)\\k<x>'],
  ['an atomic group', '(?>a+)b'],
  ['a conditional', '(?(1)a|b)'],
  ['a quantifier of a quantifier', 'a{1,3}+'],
  ['a lazy run', 'a+?b'],
  ['many ways', 'a{0,60}a{0,60}b'],
  ['a long front', 'a{64}'.repeat(5)],
  ['a run with a long front', 'a{70,}'],
  ['many alternatives', new Array(70).fill('a').join('|')],
  ['a long pattern', 'a'.repeat(5000)],
  ['groups within groups', '(((((a)))))'],
  ['a class without an end', '[a'],
  ['a group without an end', '(a'],
  ['an end without a group', 'a)'],
  ['a quantifier without a part', '*a'],
  ['a range that is none', 'a{3,1}'],
])('is not proved linear: %s', (_, pattern) => expect(whyNotLinear(pattern)).toMatch(/./))

test('any text is accepted or refused, without another error', () => {
  const piece = fc.constantFrom(
    'a',
    '\\s',
    '[^\\s]',
    '(',
    '(?:',
    '(?!',
    ')',
    '|',
    '+',
    '*',
    '?',
    '{2}',
    '{1,3}',
    '\\',
    '[',
    ']',
    '$',
  )
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(piece).map((all) => all.join('')),
      ),
      (pattern) => {
        const why = whyNotLinear(pattern)
        expect(why === undefined || why.length > 0).toBe(true)
        expect(shortestMatch(pattern)).toBeGreaterThanOrEqual(0)
      },
    ),
    { numRuns: 2000 },
  )
})

test.each([
  ['abc', 3],
  ['a+b?', 1],
  ['a*', 0],
  ['(?:ab|c)d', 2],
  ['(?:ab)?', 0],
  ['x{3,5}|yy', 2],
  ['(?<!a)b', 1],
  ['(((', 0],
])('the shortest match of %s has %i letters', (pattern, length) => expect(shortestMatch(pattern)).toBe(length))

describe('time', () => {
  const symbols = [
    ' ',
    '\n',
    '\r',
    '\t',
    'a',
    'A',
    '\u00e9',
    '\u4e00',
    '\u02b0',
    '\u0301',
    '1',
    '!',
    "'",
    '/',
    '\u3000',
    '\u{1f600}',
  ]
  const unit = fc.array(fc.constantFrom(...symbols), { minLength: 1, maxLength: 3 }).map((all) => all.join(''))

  /** Returns the shortest of several times, so that load on the machine does not count. */
  const timeOf = (split: Split, text: string): number => {
    let best = Infinity
    for (let i = 0; i < 3; i++) {
      const begun = performance.now()
      split.pre_tokenize_text(text)
      best = Math.min(best, performance.now() - begun)
    }
    return best
  }

  /**
   * Expects 16 times the text to take 16 times as long, with room for noise; a quadratic pattern
   * takes 256 times as long.
   */
  const expectLinear = (split: Split, piece: string, last: string) => {
    const text = (length: number) => piece.repeat(Math.ceil(length / piece.length)) + last
    const short = timeOf(split, text(2_000))
    // Shorter times are too short to compare.
    expect(timeOf(split, text(32_000))).toBeLessThan(Math.max(64 * short, 100))
  }
  const splitBy = (pattern: string) => {
    return new SplitPreTokenizer({ type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated', invert: false })
  }
  const last = fc.constantFrom('', ...symbols)

  test('a pattern of a published model takes linear time on any text', () => {
    const all = [...new Set([...known, ...Object.values(published)])].map(splitBy)
    fc.assert(fc.property(fc.constantFrom(...all), unit, last, expectLinear), { numRuns: 150 })
  })

  test('so does any accepted pattern', () => {
    const letter = fc.constantFrom('a', '\\s', '[a1]', '[^a]', '\\p{L}', '.', '\\S', ' ')
    const times = fc.constantFrom('', '', '+', '*', '?', '{2}', '{1,3}')
    const part = fc.oneof(
      fc.tuple(letter, times).map((both) => both.join('')),
      fc.tuple(letter, letter).map(([a, b]) => `(?:${a}${b}|${b})?`),
      fc.tuple(fc.constantFrom('(?!', '(?<!'), letter).map(([open, a]) => `${open}${a})`),
    )
    const alternative = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join(''))
    const run = fc.tuple(letter, letter).map(([x, y]) => `${x}*${y}+|${x}+(?!\\S)|${x}+`)
    const pattern = fc.array(fc.oneof(alternative, run), { minLength: 1, maxLength: 4 }).map((all) => all.join('|'))
    const accepted = pattern.filter((text) => whyNotLinear(text) === undefined)
    fc.assert(
      fc.property(accepted, unit, last, (text, piece, end) => expectLinear(splitBy(text), piece, end)),
      { numRuns: 150 },
    )
  })
})
