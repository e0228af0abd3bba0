import { describe, expect, test } from 'vitest'
import type { TokenizerSpec } from '../../src/base/model.ts'
import { applyTemplate } from '../../src/tokens/template.ts'

const spec = (chatTemplate: string | undefined): TokenizerSpec => ({
  json: {},
  config: {},
  chatTemplate,
  bosToken: '<s>',
  eosToken: '</s>',
  eosIds: [2],
  addBos: false,
})
const messages = [
  { role: 'system', content: 'be brief' },
  { role: 'user', content: 'hi' },
] as const

test("a user's dict names a macro's arguments, and its keys remain user text", () => {
  const template =
    '{% macro f(city, unit) %}{{ city }} {{ unit }} {{ kwargs }}{% endmacro %}{{ f(**messages[0].given) }}'
  const message = { role: 'user', content: 'x', given: { city: 'Oslo', unit: 'C', more: 1 } } as const
  expect(applyTemplate(spec(template), [message])).toBe("Oslo C {'more': 1}")
})

describe('applyTemplate', () => {
  test('gives the template messages, tokens and the generation prompt', () => {
    const template =
      '{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content | trim }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}'
    expect(applyTemplate(spec(template), messages)).toBe('<s>[system] be brief</s>[user] hi</s>[assistant]')
  })

  test('provides the functions that templates call', () => {
    const year = String(new Date().getFullYear())
    expect(
      applyTemplate(spec("{{ strftime_now('%Y') }}{{ range(3) | length }}{{ range(1, 7, 2) | last }}"), messages),
    ).toBe(`${year}35`)
  })

  test.each([
    ['none', undefined, 'unsupported', /no chat template.*--raw, \/v1\/completions/],
    ['one that is cut off', '{% for m in messages %}', 'bad_model', /template/],
    [
      'one that refuses',
      "{{ raise_exception('roles must alternate') }}",
      'bad_argument',
      /refuses.*: roles must alternate/,
    ],
    ['one that calls what is not there', '{{ messages.nothing() }}', 'bad_model', /template/],
    ['one that is absurdly long', 'x'.repeat((1 << 18) + 1), 'bad_model', /262145 characters/],
    [
      'one that counts without end',
      '{% for i in range(1000000000) %}x{% endfor %}',
      'bad_model',
      /more than 1677\d+ characters/,
    ],
    [
      'one that loops without end',
      '{% for i in range(99999) %}{% for j in range(99999) %}{% set k = i + j %}{% endfor %}{% endfor %}',
      'bad_model',
      /stopped: it (takes|makes) more than/,
    ],
  ])('%s', (_, template, code, message) => {
    expect(() => applyTemplate(spec(template), messages)).toThrow(
      expect.objectContaining({ name: 'ForetokenError', code, message: expect.stringMatching(message) }),
    )
  })
})
