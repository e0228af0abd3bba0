/** Patterns of schemas mean what they mean in ECMA-262, as the host's own RegExp reads it. */
import { Ajv2020 } from 'ajv/dist/2020.js'
import formats from 'ajv-formats'
import { describe, expect, test } from 'vitest'
import type { JsonSchema } from '../../src/index.ts'
import { accepts, bytesGuides } from '../helpers/bytes-guides.ts'
import fc from '../helpers/properties.ts'

const guides = bytesGuides()
const guide = (schema: JsonSchema) => ({ kind: 'json_schema', schema }) as const
const of = (pattern: string) => guide({ type: 'string', pattern })
const texts = [
  ...['', 'a', 'b', 'c', 'ab', 'ba', 'aa', 'abc', 'xay', '-', '&', '~', '_', ':', '[', ']', '{', '}', '[a]', 'a]', '/'],
  ...['A', 'K', '\u212a', 'ſ', '1', '12', '٣', 'é', 'ü', '😀', '\ud83d\ude00a', '\n', '\r', 'a\n', '\u2028', '\u2029'],
  ...[' ', '\t', '\v', '\f', '\b', '\u0000', '\u0001', '\u0007', '\u0085', '\u00a0', '\u180e', '\ufeff', 'a{', '\\'],
]

/** Returns the regex as a validator reads it: with the flag u, and without it what that refuses. */
function host(pattern: string): RegExp | undefined {
  for (const flags of ['u', ''])
    try {
      return new RegExp(pattern, flags)
    } catch {}
  return undefined
}

/** Returns the texts on which the two differ; undefined if the pattern is refused. */
function differences(pattern: string): string[] | undefined {
  try {
    guides.compile(of(pattern))
  } catch {
    return undefined
  }
  const regex = host(pattern)
  return texts.filter((text) => accepts(guides, of(pattern), JSON.stringify(text)) !== regex?.test(text))
}

describe('patterns', () => {
  test.each([
    ...[
      '^.$',
      '^[^]$',
      '^\\s$',
      '^\\S$',
      '^[\\s]$',
      '^[^\\s]$',
      '^\\d$',
      '^\\D$',
      '^\\w$',
      '^\\W$',
      '^[^\\w]$',
      '^[\\w-]$',
    ],
    ...['^[a&&b]$', '^[a~~b]$', '^[[:alpha:]]$', '^[[a]]$', '^[a[b]]$', '^[a-c&&b]$', '^\\p{L}$', '^[\\p{Lu}\\d]$'],
    ...[
      '^\\P{L}$',
      '^\\u0061$',
      '^\\u{61}$',
      '^\\x61$',
      '^\\cA$',
      '^\\0$',
      '^[\\b]$',
      '^\\v$',
      '^\\ud83d\\ude00$',
      '^😀$',
    ],
    ...[
      '^[😀-😃]$',
      'a|^b',
      '^a|b$',
      '^(?:a|^b)$',
      '^(?<n>a)$',
      '^a*?$',
      '^a{2}$',
      '^a{1,}b?$',
      '^a{0,1}$',
      '^{$',
      '^}$',
    ],
    ...[
      '^]$',
      '^a{$',
      '^\\/$',
      '^/$',
      '^[/]$',
      '^[a\\-c]$',
      '^\\-$',
      '^[-a]$',
      '^[a-]$',
      '^$',
      'x*',
      '',
      '^()$',
      '^(|a)$',
    ],
    ...['^\\@$', '^\\_$', '^(?:)$', '^[^a]$', '^[\\]]$', '^[\\^a]$'],
  ])('%s', (pattern) => {
    expect(host(pattern)).toBeDefined()
    expect(differences(pattern)).toEqual([])
  })

  test.each([
    ...[
      '^\\a$',
      '^\\Aa',
      'a\\z',
      'a\\Z',
      '^\\Q$',
      '\\bab',
      '^(a)\\1$',
      '(?=a)',
      '(?!a)',
      '(?<=a)b',
      '(?x)a b',
      '(?-u:a)',
    ],
    ...[
      'a**',
      '*a',
      '(*a)',
      'a{2}{2}',
      'a{,2}',
      'a{2,1}',
      '(a',
      'a)',
      '[a',
      '[]',
      '[b-a]',
      '\\',
      '\\p{',
      '\\pL',
      '\\u12',
      '\\ud83d',
    ],
  ])('%s is refused with its place', (pattern) => {
    expect(() => guides.compile(of(pattern))).toThrow(
      expect.objectContaining({ message: expect.stringMatching(/\/pattern: regex/) }),
    )
  })

  test('of any kind are read as the host reads them, or refused', () => {
    const part = fc.constantFrom(
      ...[
        'a',
        'b',
        '.',
        '-',
        '^',
        '$',
        '|',
        '(',
        ')',
        '(?:',
        '[',
        ']',
        '[^',
        '{',
        '}',
        '{2}',
        '{1,2}',
        ',',
        '*',
        '+',
        '?',
      ],
      ...[
        '\\d',
        '\\s',
        '\\S',
        '\\w',
        '\\W',
        '\\n',
        '\\-',
        '\\/',
        '\\u0061',
        '\\x41',
        '\\b',
        '&',
        '~',
        ':',
        '1',
        'é',
        '😀',
      ],
    )
    let judged = 0
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 7 }), (parts) => {
        const pattern = parts.join('')
        const found = differences(pattern)
        if (found === undefined) return
        judged++
        expect([pattern, found]).toEqual([pattern, []])
      }),
      { numRuns: 400 },
    )
    expect(judged).toBeGreaterThan(40)
  })
})

test('formats are kept to: days of months and leap years, leap seconds, host names', () => {
  const format = (name: string, text: string) =>
    accepts(guides, guide({ type: 'string', format: name }), JSON.stringify(text))
  for (let year = 1890; year < 2110; year++) {
    const leap = new Date(Date.UTC(year, 1, 29)).getUTCMonth() === 1
    expect([year, format('date', `${year}-02-29`)]).toEqual([year, leap])
  }
  expect(format('date-time', '2016-12-31t23:59:60.5z')).toBe(true)
  for (const time of ['23:58:60Z', '22:59:60Z', '23:59:60+01:00']) expect(format('time', time)).toBe(false)
  const label = 'a'.repeat(63)
  expect(format('hostname', `${label}.${label}.${label}.${'a'.repeat(61)}`)).toBe(true)
  expect(format('hostname', `${label}.${label}.${label}.${'a'.repeat(62)}`)).toBe(false)
  expect(format('hostname', `${label}a`)).toBe(false)
  for (const one of ['a', 'a1', 'a-b', 'ab-c', 'a--b', 'a-b-c-d'])
    expect([one, format('hostname', one)]).toEqual([one, true])
  for (const one of ['', '-a', 'a-', 'xn--a', 'ab--c', 'a.', '.a', 'a_b'])
    expect([one, format('hostname', one)]).toEqual([one, false])
  const both = guide({ type: 'string', format: 'date', pattern: '^2024', maxLength: 10 })
  expect([accepts(guides, both, '"2024-02-29"'), accepts(guides, both, '"2023-02-28"')]).toEqual([true, false])
})

test('a URI goes on behind its scheme, as validators in use want it', () => {
  const ajv = new Ajv2020()
  formats.default(ajv)
  const valid = ajv.compile({ type: 'string', format: 'uri' })
  const format = (text: string) => accepts(guides, guide({ type: 'string', format: 'uri' }), JSON.stringify(text))
  const given = [
    'a:b',
    'urn:x:y',
    'http://a',
    'a://',
    'a:/b?c#d',
    'mailto:a@b.c',
    'a:',
    'a:?b',
    'a:#b',
    'a',
    '//a/b',
    ':b',
  ]
  for (const one of given) expect([one, format(one)]).toEqual([one, valid(one)])
})

test('encodings are kept to, and what can not be is refused with its place', () => {
  const encoded = (name: string, text: string) =>
    accepts(guides, guide({ type: 'string', contentEncoding: name }), JSON.stringify(text))
  for (const text of ['', 'a', 'ab', 'abc', '\u00ff\u00fe~?>'])
    for (const name of ['base64', 'base64url', 'hex'] as const)
      expect(encoded(name === 'hex' ? 'base16' : name, Buffer.from(text).toString(name))).toBe(true)
  for (const text of ['a', 'abcde', 'ab=', '====', 'a%=='])
    expect([text, encoded('base64', text)]).toEqual([text, false])
  expect(encoded('binary', 'é')).toBe(true)
  expect(encoded('7bit', 'é')).toBe(false)
  for (const [schema, place] of [
    [{ properties: { a: { contentEncoding: 'rot13' } } }, '/properties/a/contentEncoding'],
    [
      { $ref: '#/$defs/x', $defs: { x: { contentMediaType: 'application/json; charset=utf-8' } } },
      '/$defs/x/contentMediaType',
    ],
    [{ items: { patternProperties: { '(?=a)': true } } }, '/items/patternProperties'],
    [{ minProperties: 2, additionalProperties: { type: 'integer' } }, '/minProperties'],
  ] as const)
    expect(() => guides.compile(guide(schema))).toThrow(
      expect.objectContaining({ message: expect.stringContaining(place) }),
    )
  guides.compile(guide({ minProperties: 2, required: ['a'] }))
  guides.compile(guide({ properties: { pattern: { enum: ['(?=a)'] } }, default: { pattern: '(?=a)' } }))
})

test('schemas in Lark are read in the same way', () => {
  const lark = {
    kind: 'lark',
    grammar: 'start: "<" x ">"\nx: %json {"type": "string", "pattern": "^.$"} # %json {"pattern": "("}',
  } as const
  expect(accepts(guides, lark, '<"a">')).toBe(true)
  expect(accepts(guides, lark, '<"\\r">')).toBe(false)
})
