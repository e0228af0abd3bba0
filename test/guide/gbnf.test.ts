/** GBNF: what its documentation describes is read, and the converted grammar has the same language. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { larkOf } from '../../src/guide/gbnf.ts'
import { type Expression, parseGbnf } from '../../src/guide/gbnf-parser.ts'
import { instantiate } from '../../wasm/dist/guide/guide.js'
import fc from '../helpers/properties.ts'

const module = new WebAssembly.Module(readFileSync(new URL('../../wasm/dist/guide/guide.wasm', import.meta.url)))
const guide = instantiate(module)
/** One token a byte, and an end. */
const vocabulary = new guide.Vocabulary(
  Uint8Array.from({ length: 256 }, (_, byte) => byte),
  Uint32Array.from({ length: 258 }, (_, at) => Math.min(at, 256)),
  new Uint8Array(257),
  Uint32Array.of(256),
)

/** Returns a function that tells whether the engine accepts a text under a grammar. */
function engineOf(grammar: string): (text: string) => boolean {
  const compiled = vocabulary.compile('lark', larkOf(grammar))
  return (text) => {
    const matcher = compiled.matcher()
    try {
      for (const byte of Buffer.from(text)) matcher.commit(byte)
      return matcher.isAccepting()
    } catch {
      return false
    }
  }
}

/** Recognizes by the definitions: the ends of all matches of an expression from a position. */
function naive(grammar: string): (text: string) => boolean {
  const rules = parseGbnf(grammar)
  return (text) => {
    const characters = Array.from(text, (one) => one.codePointAt(0)!)
    // Nested calls of one rule at one place add nothing: a derivation without them exists.
    const open = new Set<string>()
    const ends = (part: Expression, from: number): Set<number> => {
      if (part.kind === 'literal') {
        const codes = Array.from(part.text, (one) => one.codePointAt(0)!)
        return new Set(codes.every((code, at) => characters[from + at] === code) ? [from + codes.length] : [])
      }
      if (part.kind === 'class') {
        const code = characters[from]
        if (code === undefined) return new Set()
        return new Set(
          part.ranges.some(([low, high]) => code >= low && code <= high) !== part.negated ? [from + 1] : [],
        )
      }
      if (part.kind === 'choice') return new Set(part.options.flatMap((option) => [...ends(option, from)]))
      if (part.kind === 'sequence') {
        let all = new Set([from])
        for (const one of part.parts) all = new Set([...all].flatMap((at) => [...ends(one, at)]))
        return all
      }
      if (part.kind === 'rule') {
        const call = `${part.name} ${from}`
        if (open.has(call)) return new Set()
        open.add(call)
        const found = ends(rules.get(part.name)!, from)
        open.delete(call)
        return found
      }
      let reached = new Set([from])
      const all = new Set(part.least === 0 ? [from] : [])
      for (let times = 1; times <= (part.most ?? characters.length + part.least); times++) {
        reached = new Set([...reached].flatMap((at) => [...ends(part.part, at)]))
        if (times >= part.least) for (const at of reached) all.add(at)
        if (reached.size === 0) break
      }
      return all
    }
    return ends(rules.get('root')!, 0).has(characters.length)
  }
}

describe('the syntax', () => {
  test.each<[string, string, string[], string[]]>([
    ['literals and escapes', 'root ::= "a\\"b\\\\\\n\\t\\x41\\u00e9\\U0001F600"', ['a"b\\\n\tAé😀'], ['a', '']],
    ['classes', 'root ::= [a-c_] [^x-z\\]] [-0-9] [\\x41-\\x43]', ['_q5B', 'a\n-A'], ['dq5B', '_x5B', '_]5B', '_q5D']],
    ['any character', 'root ::= . .', ['a\n', '😀é'], ['a', 'abc']],
    [
      'repetitions',
      'root ::= "a"* "b"+ "c"? [d]{2} [e]{1,} [f]{0,2}',
      ['bdde', 'aabbcddeeff'],
      ['dde', 'bdd', 'bddefff'],
    ],
    ['groups and alternatives', 'root ::= ("a" | "bc" | ) ("d" | "e")', ['d', 'ad', 'bce'], ['a', 'abd', '']],
    [
      'rules, names and comments',
      '# a comment\nroot ::= my-rule Rule_2 # another\n\nmy-rule ::= "a" |\n  "b"\nRule_2 ::= (\n "c"\n  | "d" )\n',
      ['ac', 'bd'],
      ['a', 'ab'],
    ],
    ['recursion', 'root ::= "(" root ")" | "x" root | ""', ['', '(x)', 'x(())'], ['(', ')x']],
    ['a longer literal that hides a shorter one', 'root ::= "a" "bc" | "ab" "d"', ['abc', 'abd'], ['ab', 'abcd']],
    ['line ends of DOS', 'root ::= "a" | b\r\nb ::= "b"\r\n', ['a', 'b'], ['ab']],
  ])('%s', (_, grammar, yes, no) => {
    const [accepts, expected] = [engineOf(grammar), naive(grammar)]
    for (const text of yes) expect([text, accepts(text), expected(text)]).toEqual([text, true, true])
    for (const text of no) expect([text, accepts(text), expected(text)]).toEqual([text, false, false])
  })

  test('left recursion, which llama.cpp refuses, is read', () => {
    const accepts = engineOf('root ::= root "+" [0-9] | [0-9]')
    expect(['1', '1+2+3', '+1', '1+'].map(accepts)).toEqual([true, true, false, false])
  })

  test.each<[string, string, RegExp, string?]>([
    ['no rule', '', /root/],
    ['no root', 'a ::= "b"', /root/],
    ['an unknown rule', 'root ::= foo', /foo is not defined/],
    ['a rule twice', 'root ::= "a"\nroot ::= "b"', /line 2: the rule root is defined twice/],
    ['a literal that is not closed', 'root ::= "abc', /literal is not closed/],
    ['a class that is not closed', 'root ::= [a-', /class is not closed/],
    ['a class in descending order', 'root ::= [z-a]', /descending/],
    ['a group that is not closed', 'root ::= ("a"', /group is not closed/],
    ['a repetition without an item', 'root ::= * "a"', /should end/],
    ['a bad repetition', 'root ::= "a"{x}', /\{m\}/],
    ['a repetition of nothing', 'root ::= "a"{3,2}', /3 to 2/],
    ['an escape that is none', 'root ::= "\\q"', /not an escape/],
    ['half a surrogate pair', 'root ::= "\\uD800"', /U\+D800/],
    ['one colon', 'root: "a"', /::=/],
    ['tokens', 'root ::= <think> "a"', /tokens/, 'unsupported'],
    ['tokens that are excluded', 'root ::= !<[3]> "a"', /tokens/, 'unsupported'],
    ['deep groups', `root ::= ${'('.repeat(100)}"a"${')'.repeat(100)}`, /deep/],
  ])('is refused with its line: %s', (_, grammar, message, code = 'bad_argument') => {
    expect(() => larkOf(grammar)).toThrow(expect.objectContaining({ code, message: expect.stringMatching(message) }))
  })

  test('whatever the text is, it is converted or refused', () => {
    const pieces = fc.constantFrom(
      'root',
      ' ::= ',
      '"a"',
      '[a-z]',
      '|',
      '(',
      ')',
      '*',
      '{2}',
      '\n',
      '#',
      '\\',
      '<',
      '.',
      'x',
      '"',
    )
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 30 }), (parts) => {
        try {
          expect(typeof larkOf(`root ::= ${parts.join('')}`)).toBe('string')
        } catch (error) {
          expect(['bad_argument', 'unsupported']).toContain((error as { code?: string }).code)
        }
      }),
    )
  })
})

test('random grammars accept the texts that their definitions do', () => {
  const { part } = fc.letrec<{ part: string }>((tie) => ({
    part: fc.oneof(
      { maxDepth: 4, depthSize: 'small' },
      fc.constantFrom('"a"', '"b"', '"ab"', '"ba"', '[ab]', '[^a]', '""', 'one', 'two', 'root'),
      fc.tuple(tie('part'), tie('part')).map(([a, b]) => `(${a} ${b})`),
      fc.tuple(tie('part'), tie('part')).map(([a, b]) => `(${a} | ${b})`),
      fc
        .tuple(tie('part'), fc.constantFrom('*', '+', '?', '{2}', '{1,2}', '{0,1}'))
        .map(([a, times]) => `(${a})${times}`),
    ),
  }))
  // Definitions without recursion, so that the naive recognizer needs no fixed point.
  const plain = part.map((text) => text.replaceAll(/\b(root|one|two)\b/g, '"b"'))
  const texts = fc.array(fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 6 }), {
    minLength: 12,
    maxLength: 12,
  })
  let compared = 0
  fc.assert(
    fc.property(
      part.map((text) => text.replaceAll('root', '"a"')),
      plain,
      plain,
      texts,
      (root, one, two, texts) => {
        const grammar = `root ::= ${root} | "a" root "b"\none ::= ${one}\ntwo ::= ${two}`
        let accepts: (text: string) => boolean
        try {
          accepts = engineOf(grammar)
        } catch {
          return
        }
        const expected = naive(grammar)
        for (const text of ['', 'a', 'b', 'ab', 'aab', 'abb', ...texts]) {
          compared++
          expect([grammar, text, accepts(text)]).toEqual([grammar, text, expected(text)])
        }
      },
    ),
    { numRuns: 150 },
  )
  expect(compared).toBeGreaterThan(1500)
})
