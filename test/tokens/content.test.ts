/**
 * Tests the forms of message content, and answers that have begun, with templates that read some of
 * the forms; chat.test.ts covers the published templates.
 */
import { describe, expect, test } from 'vitest'
import type { ChatMessage } from '../../src/base/prompt.ts'
import { promptIds } from '../../src/tokens/prompt.ts'
import { applyTemplate } from '../../src/tokens/template.ts'
import { smallSpec, smallTokenizer } from '../helpers/small-bpe.ts'

const loop = (body: string) => `{% for message in messages %}${body};{% endfor %}`
const texts = loop('{{ message.content }}')
const parts = loop("{% for part in message.content if part.type == 'text' %}<{{ part.text }}>{% endfor %}")
const both = loop(
  "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}<{{ part['text'] }}>{% endfor %}{% endif %}",
)
const byMacro = `{% macro show(content) %}{% for part in content %}{% if part.type == 'text' %}<{{ part.text }}>{% endif %}{% endfor %}{% endmacro %}${loop('{{ show(message.content) }}')}`
const strict = loop(
  "{% if message.content is not string %}{{ raise_exception('texts only, of type string') }}{% endif %}{{ message.content }}",
)
const content = [
  { type: 'text', text: 'a' },
  { type: 'text', text: 'b' },
] as const
const render = (template: string, given: ChatMessage['content'], options = {}) =>
  applyTemplate(smallSpec(template), [{ role: 'user', content: given } as ChatMessage], options)

describe('a content in parts', () => {
  test.each([
    ['a template of texts is given lines', texts, 'a\nb;'],
    ['one of parts is given the parts', parts, '<a><b>;'],
    ['one of both is given the parts', both, '<a><b>;'],
    ['one that hands them to a macro is given the parts', byMacro, '<a><b>;'],
    ['one that refuses all but texts is given lines', strict, 'a\nb;'],
  ])('%s', (_, template, expected) => expect(render(template, content)).toBe(expected))

  test('a template that accepts parts only gets a text as one part', () => {
    expect(render(parts, 'x')).toBe('<x>;')
    expect(render(byMacro, 'x')).toBe('<x>;')
    expect(render(both, 'x')).toBe('x;')
  })

  test("names of OpenAI's newer API and bare strings are texts as well; other types are refused by name", () => {
    const given = ['a', { type: 'input_text', text: 'b' }, { type: 'output_text', text: 'c', annotations: [] }]
    expect(render(parts, given as never)).toBe('<a><b><c>;')
    expect(() => render(parts, [{ type: 'image_url', image_url: { url: 'x' } }] as never)).toThrow(
      /part 0 of a message's content is "image_url"; only text is supported/,
    )
    expect(() => render(parts, [{ type: 'text', text: 1 }] as never)).toThrow(/part 0/)
    expect(() => render(texts, 5 as never)).toThrow(/a text, a list of parts, or null/)
  })

  test('special tokens in a part are plain text', () => {
    const tokenizer = smallTokenizer()
    for (const template of [texts, parts]) {
      const spec = smallSpec(template)
      const given = [{ role: 'user', content: [{ type: 'text', text: '<|im_end|>' }] }] as const
      const ids = promptIds(tokenizer, spec, given, { context: 1000 })
      expect(ids.some((id) => tokenizer.isSpecial(id))).toBe(false)
    }
  })
})

describe('missing content', () => {
  const called = [
    { role: 'user', content: 'x' },
    { role: 'assistant', content: null },
    { role: 'user', content: 'y' },
  ] as never
  test.each([
    [
      'a template that tests for it is given null',
      loop('{% if message.content is not none %}{{ message.content }}{% else %}-{% endif %}'),
      'x;-;y;',
    ],
    ['one that would write None is given an empty text', texts, 'x;;y;'],
    ['one that fails is given an empty text', loop("{{ message.content + '' }}"), 'x;;y;'],
  ])('%s', (_, template, expected) => expect(applyTemplate(smallSpec(template), called)).toBe(expected))
})

describe('a partial answer', () => {
  const turns = (answer: ChatMessage['content'], role = 'assistant') =>
    [
      { role: 'user', content: 'q' },
      { role, content: answer },
    ] as ChatMessage[]
  const begun = (template: string, answer: ChatMessage['content'], role?: string) =>
    applyTemplate(smallSpec(template), turns(answer, role), { continueFinal: true })
  const turn = '<{{ message.content }}>{% if loop.last and add_generation_prompt %}go{% endif %}'

  test.each([
    ['is left open', loop(turn), 'yes, ', '<q>;<yes, '],
    ['may be empty', loop(turn), '', '<q>;<'],
    ['loses the white space that the template trims', loop('<{{ message.content | trim }}>'), ' yes, ', '<q>;<yes,'],
    ['may be in parts', both, [{ type: 'text', text: 'yes' }] as const, 'q;<yes'],
    [
      'may hold the text of the mark itself',
      loop(turn),
      'CONTINUE_FINAL_MESSAGE_TAG x',
      '<q>;<CONTINUE_FINAL_MESSAGE_TAG x',
    ],
    [
      'is found where a template repeats it',
      `${loop('{{ message.content }}')}{{ messages[-1].content }}!`,
      'y',
      'q;y;y',
    ],
  ] as [string, string, ChatMessage['content'], string][])('%s', (_, template, answer, expected) =>
    expect(begun(template, answer)).toBe(expected),
  )

  test.each([
    ['another who speaks', loop(turn), 'x', 'user', /not the assistant.s/],
    ['an answer without text', parts, [], 'assistant', /the last message has no text/],
    ['a template that leaves it out', '{{ messages[0].content }}', 'x', 'assistant', /does not show all/],
    ['a template that cuts it', loop('{{ message.content[:2] }}'), 'xyz', 'assistant', /does not show all/],
  ] as [string, string, ChatMessage['content'], string, RegExp][])(
    '%s is refused',
    (_, template, answer, role, message) => {
      expect(() => begun(template, answer, role)).toThrow(message)
    },
  )
})
