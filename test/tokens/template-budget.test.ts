/**
 * Checks that templates stop which take more than any real one would. Work is counted, not time.
 */
import { afterEach, describe, expect, test, vi } from 'vitest'
import { maxTemplate, parseTemplate } from '../../src/tokens/jinja/parse.ts'
import { Origin } from '../../src/tokens/origin.ts'
import { applyTemplate, limitsFor } from '../../src/tokens/template.ts'
import { smallSpec } from '../helpers/small-bpe.ts'

const messages = [{ role: 'user', content: 'hi '.repeat(100) }] as const
const render = (template: string, limits = limitsFor(messages)) =>
  applyTemplate(smallSpec(template), messages, { limits })
const stopped = { code: 'bad_model', message: expect.stringMatching(/stopped: it (takes|makes|is nested) (more|)/) }
const doubled = (line: string) => `{% set ns = namespace(x=['a'], s='ab') %}{% for i in range(60) %}${line}{% endfor %}`

describe('a template is stopped by its budget', () => {
  test.each([
    ['loops in loops', '{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}'],
    ['loops in loops over a conversation', '{% for a in messages[0].content %}'.repeat(8) + '{% endfor %}'.repeat(8)],
    ['a range of any length', '{{ range(1000000000) | length }}'],
    ['a range that is no number of steps', '{{ range(0, 9007199254740991, 1) | length }}'],
    ['a string that doubles', doubled('{% set ns.s = ns.s + ns.s %}')],
    ['a string that doubles by ~', doubled('{% set ns.s = ns.s ~ ns.s %}')],
    ['a string that is repeated', "{{ 'a' * 1000000000 }}"],
    ['a block that doubles', doubled('{% set t %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = t %}')],
    ['a list that doubles', doubled('{% set ns.x = ns.x + ns.x %}')],
    ['lists of lists', `${doubled('{% set ns.x = [ns.x, ns.x] %}')}{{ ns.x }}`],
    ['lists of lists, as JSON', `${doubled('{% set ns.x = [ns.x, ns.x] %}')}{{ ns.x | tojson }}`],
    ['lists of lists, compared', `${doubled('{% set ns.x = [ns.x, ns.x] %}')}{{ ns.x == [ns.x[0], ns.x[1]] }}`],
    ['lists of lists, as a text', `${doubled('{% set ns.x = [ns.x, ns.x] %}')}{{ '' ~ ns.x }}`],
    ['lists of lists, joined', `${doubled('{% set ns.x = [ns.x, ns.x] %}')}{{ ns.x | join }}`],
    ['lists of lists, told apart', `${doubled('{% set ns.x = [ns.x, ns.x] %}')}{{ ns.x | unique }}`],
    ['a namespace in itself', '{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}'],
    ['a replacement that grows', doubled("{% set ns.s = ns.s | replace('a', 'aa') %}")],
    ['a replacement of nothing', "{% set s = 'a' * 100000 %}{{ s | replace('', s) }}"],
    ['an indentation without end', "{{ 'a\nb' | indent(1000000000) }}"],
    ['JSON with an indentation without end', '{{ [1] | tojson(indent=1000000000) }}'],
    ['a separator without end', "{% set s = 'a' * 100000 %}{{ range(1000) | join(s) }}"],
    ['a separator between numbers', "{{ range(1000000) | join('x' * 1000) }}"],
    ['a separator of a method', "{{ ('x' * 1000).join(range(1000000)) }}"],
    ['a list as a text', '{{ range(1000000) | string }}'],
    ['a list as JSON', '{{ range(1000000) | tojson }}'],
    ['JSON with a long indentation, deep down', "{{ [[[[[[[[1]]]]]]]] | tojson(indent='x' * 1000000) }}"],
    ['a text in letters', "{{ ('a' * 8000000) | list }}"],
    ['a text in words', "{{ ('a ' * 2000000).split() }}"],
    ['a text in lines', "{{ ('a\n' * 2000000).splitlines() }}"],
    ['escapes without end', "{{ ('\n' * 4000000) | tojson }}"],
    ['a sort in a loop', '{% set x = range(10000) %}{% for i in x %}{% set y = x | sort %}{% endfor %}'],
    ['a search in a loop', '{% set x = range(100000) %}{% for i in x %}{% set y = -1 in x %}{% endfor %}'],
    [
      'a search in a text in a loop',
      "{% set x = 'a' * 100000 %}{% for i in range(10000) %}{% set y = 'b' in x %}{% endfor %}",
    ],
    ['an edit in a loop', "{% set x = 'a' * 100000 %}{% for i in range(10000) %}{% set y = x | upper %}{% endfor %}"],
    ['a macro that calls itself', '{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}'],
    [
      'two macros that call each other twice',
      '{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}',
    ],
    ['a caller that calls', '{% macro f() %}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}{{ f() }}'],
    [
      'arguments without end',
      '{% macro f() %}{% endmacro %}{% for i in range(10000) %}{{ f(*range(10000)) }}{% endfor %}',
    ],
  ])('%s', (_, template) => {
    expect(() => render(template)).toThrow(expect.objectContaining(stopped))
  })

  test.each([
    ['a power without end', '{{ 10 ** 1000 }}', /not a finite number/],
    ['a filter that nobody knows', '{{ 1 | evil }}', /filter evil is not known/],
    ['a property of JavaScript’s', "{{ messages.constructor('x') }}", /can't be called/],
    ['a prototype', "{{ ''.__proto__.x() }}", /can't be called/],
    ['a filter of a prototype', "{{ 'a' | constructor }}", /filter constructor is not known/],
    ['a test of a prototype', "{{ 'a' is toString }}", /test toString is not known/],
  ])('or fails: %s', (_, template, message) => {
    expect(() => render(template)).toThrow(
      expect.objectContaining({ code: 'bad_model', message: expect.stringMatching(message) }),
    )
  })
})

describe('the output of a filter is counted before it is made', () => {
  const limits = { steps: 1000, size: 10_000 }
  const run = (template: string) => expect(() => render(template, limits)).toThrow(/more than 10000 characters/)
  afterEach(() => vi.restoreAllMocks())

  test.each([
    "{{ range(1000) | join('x' * 100) }}",
    "{{ ('x' * 100).join(range(1000)) }}",
    '{{ range(1000) | string }}',
    '{{ range(1000) | tojson }}',
    "{{ range(1000) | map('string') | join('x' * 100) }}",
  ])('numbers: %s', (template) => {
    const mark = vi.spyOn(Origin.prototype, 'mark')
    run(template)
    expect(mark.mock.calls.length).toBeLessThan(500)
  })

  test.each([
    "{{ ('a' * 2300) | replace('a', 'b') }}",
    "{{ ('a' * 2300).split('a') }}",
    "{{ ('\n' * 2300) | indent }}",
  ])('positions in a text: %s', (template) => {
    const find = vi.spyOn(String.prototype, 'indexOf')
    run(template)
    expect(find.mock.calls.length).toBeLessThan(1500)
  })

  test.each(["{{ ('a' * 4000) | list }}", "{% for c in 'a' * 4000 %}{% endfor %}"])('characters: %s', (template) => {
    const from = vi.spyOn(Array, 'from')
    run(template)
    expect(from.mock.calls.every(([source]) => typeof source !== 'string')).toBe(true)
  })
})

test('the limit of steps is exact', () => {
  const template = '{{ 1 }}{{ 2 }}{{ 3 }}'
  expect(render(template, { steps: 3, size: 1000 })).toBe('123')
  expect(() => render(template, { steps: 2, size: 1000 })).toThrow(/more than 2 steps/)
})

test('the limit of characters is exact', () => {
  const template = "{{ 'a' * 1000 }}"
  // The characters of the text, and the cost of appending it to another.
  expect(render(template, { steps: 10, size: 1016 })).toBe('a'.repeat(1000))
  expect(() => render(template, { steps: 10, size: 1015 })).toThrow(/more than 1015 characters/)
})

test('a conversation of a thousand turns is well within its budget', () => {
  const turn = [
    { role: 'user', content: 'question '.repeat(20) },
    { role: 'assistant', content: 'answer '.repeat(20) },
  ] as const
  const long = Array.from({ length: 500 }, () => turn).flat()
  const template =
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content | trim + '<|im_end|>\n' }}{% endfor %}"
  const { steps, size } = limitsFor(long)
  expect(
    applyTemplate(smallSpec(template), long, { limits: { steps: steps / 20, size: size / 4 } }).length,
  ).toBeGreaterThan(100_000)
})

describe('a source that is not a template', () => {
  test.each([
    ['too long', 'x'.repeat(maxTemplate + 1), /characters; at most/],
    ['200,000 spaces before a letter', `${' '.repeat(200_000)}a`, /spaces or line ends in a row/],
    ['brackets in brackets', `{{ ${'('.repeat(50_000)}1${')'.repeat(50_000)} }}`, /nested more than/],
    ['lists in lists', `{{ ${'['.repeat(50_000)}${']'.repeat(50_000)} }}`, /nested more than/],
    ['signs before signs', `{{ ${'- '.repeat(50_000)}1 }}`, /nested more than/],
    ['not before not', `{{ ${'not '.repeat(50_000)}1 }}`, /nested more than/],
    ['else behind else', `{{ ${'1 if a else '.repeat(20_000)}1 }}`, /nested more than/],
    ['loops in loops', '{% for a in b %}'.repeat(10_000), /nested more than/],
    ['conditions in conditions', `${'{% if a %}'.repeat(10_000)}${'{% endif %}'.repeat(10_000)}`, /nested more than/],
    ['without an end', '{% for a in b %}', /./],
    ['with a string without an end', "{{ 'a", /end of input/],
  ])('is refused: %s', (_, template, message) => {
    expect(() => parseTemplate(template)).toThrow(message)
    expect(() => render(template)).toThrow(
      expect.objectContaining({ code: 'bad_model', message: expect.stringMatching(/can't be parsed/) }),
    )
  })

  test.each([
    ['as long as may be', 'x'.repeat(maxTemplate)],
    ['with as many spaces as may be', `${' '.repeat(1024)}a`],
    ['with brackets as deep as may be', `{{ ${'('.repeat(99)}1${')'.repeat(99)} }}`],
    ['with blocks as deep as may be', `${'{% if true %}'.repeat(100)}x${'{% endif %}'.repeat(100)}`],
    [
      'with a chain of conditions',
      `{% if a == 0 %}0${Array.from({ length: 60 }, (_, n) => `{% elif a == ${n + 1} %}x`).join('')}{% else %}y{% endif %}`,
    ],
  ])('a valid template is parsed: %s', (_, template) => expect(parseTemplate(template).body.length).toBeGreaterThan(0))
})

test('a template is parsed once', () => {
  const spec = smallSpec('{{ messages[0].content }}')
  const source = spec.chatTemplate!
  let reads = 0
  const watched = Object.defineProperty({ ...spec }, 'chatTemplate', {
    get() {
      reads++
      return source
    },
  })
  for (let again = 0; again < 3; again++) applyTemplate(watched, messages)
  expect(reads).toBe(1)
})

test('date formatters are cached: a loop over them costs what it writes', () => {
  const made = vi.spyOn(Intl, 'DateTimeFormat')
  try {
    render("{% for i in range(2000) %}{{ strftime_now('%a %A %b %B') }}{% endfor %}")
    expect(made.mock.calls.length).toBeLessThanOrEqual(4)
    expect(render("{{ strftime_now('%Y-%m-%d') }}")).toMatch(/^\d{4}-\d\d-\d\d$/)
    expect(made.mock.calls.length).toBeLessThanOrEqual(4)
  } finally {
    made.mockRestore()
  }
})
