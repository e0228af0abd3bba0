/** Grammars that take long to compile, or that the limits of the grammar engine refuse. */
const many = (count: number, part: object) =>
  Object.fromEntries(Array.from({ length: count }, (_, i) => [`p${i}`, part]))
const words = Array.from({ length: 20_000 }, (_, i) => `w${(i * 7919) % 65_537}`)
/** The name, the kind and the text of each. */
export const hostile: readonly (readonly [string, 'json_schema' | 'choice' | 'regex', string])[] = [
  [
    '500 optional properties',
    'json_schema',
    JSON.stringify({ type: 'object', properties: many(500, { type: 'string' }) }),
  ],
  [
    '1000 optional properties',
    'json_schema',
    JSON.stringify({ type: 'object', properties: many(1000, { type: 'string' }) }),
  ],
  ['an enum of 20000', 'json_schema', JSON.stringify({ enum: words })],
  ['20000 choices', 'choice', JSON.stringify(words)],
  ['(a{1000}){1000}', 'regex', '(a{1000}){1000}'],
  ['(a|b)*a(a|b){3000}', 'regex', '(a|b)*a(a|b){3000}'],
  ['.{0,100000}a.{0,100000}', 'regex', '.{0,100000}a.{0,100000}'],
  ['unicode classes', 'regex', '(\\p{L}|\\p{N}){200,400}\\p{Lu}'],
  [
    '250 KB of nested unions',
    'json_schema',
    JSON.stringify({
      anyOf: Array.from({ length: 4000 }, (_, i) => ({
        type: 'object',
        properties: { [`k${i}`]: { type: 'integer' } },
      })),
    }),
  ],
  [
    'a bad field among 300',
    'json_schema',
    JSON.stringify({
      type: 'object',
      properties: { ...many(300, { type: 'string' }), bad: { type: 'string', format: 'color' } },
    }),
  ],
]
