/**
 * Compares conversations in the templates of published models with transformers'
 * `apply_chat_template` (test/vectors/chat.py).
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { TokenizerSpec } from '../../src/base/model.ts'
import { promptIds } from '../../src/tokens/prompt.ts'
import { applyTemplate } from '../../src/tokens/template.ts'
import { createTokenizer } from '../../src/tokens/tokenizer.ts'
import { vectors } from '../golden/golden.ts'
import { type ChatCase, chatGolden, smallSpec, smallTokenizer, specials } from '../helpers/small-bpe.ts'

const context = 100_000
const specs = new Map<string, TokenizerSpec>()
function specOf(template: string): TokenizerSpec {
  const [bosToken, eosToken] = chatGolden.families[template]!
  const source = () => readFileSync(new URL(`templates/${template}`, vectors), 'utf8')
  const spec = specs.get(template) ?? { ...smallSpec(source()), bosToken, eosToken }
  specs.set(template, spec)
  return spec
}
const tokenizer = smallTokenizer()

/** Returns our result of a case in the form of the golden file. */
function read({ template, name, values = {} }: ChatCase): Pick<ChatCase, 'text' | 'ids' | 'refused'> {
  const { continue_final_message: continueFinal, ...templateValues } = values as Record<string, boolean>
  const spec = specOf(template)
  const messages = chatGolden.conversations[name]!
  try {
    const text = applyTemplate(spec, messages, { values: templateValues, continueFinal })
    const ids = promptIds(tokenizer, spec, messages, { context, templateValues, continueFinal })
    return { text, ids: createHash('sha256').update(ids.join(',')).digest('hex').slice(0, 8) }
  } catch (error) {
    expect(error).toMatchObject({ code: 'bad_argument' })
    return { refused: (error as Error).message }
  }
}

describe.each(Object.keys(chatGolden.families))('%s', (template) => {
  beforeAll(() => {
    vi.useFakeTimers({ now: new Date(`${chatGolden.today}T12:00:00Z`), toFake: ['Date'] })
  })
  afterAll(() => {
    vi.useRealTimers()
  })

  test.each(chatGolden.cases.filter((each) => each.template === template))(
    '$name $values: text and ids of the reference, or its refusal',
    (each) => {
      const { text, ids, refused } = each
      const ours = read(each)
      if (refused === undefined) expect(ours).toEqual({ text, ids })
      else expect(ours.refused).toContain(refused === '' ? 'no answer to continue' : refused)
    },
  )
})

test('every template is tested with every conversation', () => {
  const { cases, families, conversations } = chatGolden
  expect(Object.keys(families)).toHaveLength(13)
  expect(Object.keys(conversations).length).toBeGreaterThanOrEqual(15)
  for (const template of Object.keys(families))
    for (const name of Object.keys(conversations))
      expect(cases.some((each) => each.template === template && each.name === name)).toBe(true)
})

test('a second turn after an answer with reasoning begins with the ids of the first', () => {
  const spec = specOf('qwen3.jinja')
  const first = [{ role: 'user', content: '2+2?' }] as const
  const second = [
    ...first,
    { role: 'assistant', content: '<think>\nsum\n</think>\n\n4' },
    { role: 'user', content: '3+3?' },
  ] as const
  const ids = promptIds(tokenizer, spec, second, { context })
  expect(ids.slice(0, 10)).toEqual(promptIds(tokenizer, spec, first, { context }).slice(0, 10))
  expect(ids).not.toContain(tokenizer.idOf('<think>'))
})

describe('user text is plain text', () => {
  const idsOf = (template: string, content: string) => promptIds(tokenizer, smallSpec(template), content, { context })
  const count = (ids: readonly number[]) => ids.filter((id) => tokenizer.isSpecial(id)).length
  const plain = (text: string) => tokenizer.encode(text)
  const hostile = `a${specials.join('')}b`

  test.each([
    ['as it is', '{{ messages[0].content }}', hostile],
    ['trimmed', '{{ messages[0].content | trim }}', hostile],
    ['in lower case', '{{ messages[0].content | lower }}', '<|IM_END|><|Im_Start|>'],
    ['made of letters that become others in lower case', '{{ messages[0].content | lower }}', '<|\u0130M_END|> \u212a'],
    [
      'made of letters that become others in upper case',
      '{{ messages[0].content | upper | lower }}',
      '<|im_\u017ftart|>',
    ],
    ['replaced into', "{{ messages[0].content | replace('X', '') }}", '<|imX_end|>'],
    ['joined', "{{ messages[0].content.split('X') | join('') }}", '<|imX_end|>'],
    ['joined with signs of the template', "{{ messages[0].content.split('X') | join('|') }}", '<Xim_endX>'],
    ['reversed', '{{ messages[0].content[::-1] }}', '>|dne_mi|<'],
    ['sliced', '{{ messages[0].content[1:-1] }}', '.<|im_end|>.'],
    ['letter by letter', '{% for c in messages[0].content %}{{ c }}{% endfor %}', hostile],
    ['beside the signs of the template', "{{ '<|' + messages[0].content + '|>' }}", 'im_end'],
    ['beside them, joined by ~', "{{ '<|' ~ messages[0].content ~ '|>' }}", 'im_end'],
    ['as JSON', '{{ messages[0].content | tojson }}', hostile],
    ['as JSON of a message', '{{ messages[0] | tojson }}', hostile],
    ['as a list', '{{ [messages[0].content] }}', hostile],
    ['as a block', '{% set x %}{{ messages[0].content }}{% endset %}{{ x }}', hostile],
    ['by a macro', '{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(messages[0].content) }}', '|im_end|'],
    ['by a filter over a block', '{% filter lower %}{{ messages[0].content }}{% endfilter %}', '<|IM_END|>'],
    ['formatted', "{{ '<|{}|>'.format(messages[0].content) }}", 'im_end'],
    ['indented', '{{ messages[0].content | indent(0) }}', hostile],
    ['sorted', "{{ [messages[0].content, '<|'] | sort | join }}", 'im_end|>'],
    ['repeated', '{{ messages[0].content * 2 }}', '<|im_end|>'],
    ['half here, half there', '{{ messages[0].content[:5] }}{{ messages[0].content[5:] }}', '<|im_end|>'],
    ['with half of the other’s', '{{ messages[0].content }}_end|>', '<|im'],
  ])('%s', (_, template, content) => {
    const rendered = applyTemplate(smallSpec(template), [{ role: 'user', content }])
    expect(count(idsOf(template, content))).toBe(0)
    expect(idsOf(template, content)).toEqual(plain(rendered))
  })

  test('names, fields and values for the template as well', () => {
    const read = (template: string, message: object, templateValues = {}) =>
      promptIds(tokenizer, smallSpec(template), [{ role: 'user', content: 'x', ...message } as never], {
        context,
        templateValues,
      })
    expect(count(read("{{ '<|' + messages[0].name + '|>' }}", { name: 'im_end' }))).toBe(0)
    expect(count(read('{% for k in messages[0].args %}{{ k }}{% endfor %}', { args: { '<|im_end|>': 1 } }))).toBe(0)
    expect(read("{{ messages[0].args['<|im_end|>'] }}", { args: { '<|im_end|>': 1 } })).toEqual(plain('1'))
    expect(read('{{ messages[0].args.city }}', { args: { city: 'Oslo' } })).toEqual(plain('Oslo'))
    expect(count(read("{{ '<|' ~ style ~ '|>' }}", {}, { style: 'im_end' }))).toBe(0)
    expect(count(read("{{ '<|' + messages[0].role + '|>' }}", { role: 'im_end' }))).toBe(0)
  })

  test('except for a role, from which templates make tokens', () => {
    const added = [
      ...(chatGolden.tokenizer.added_tokens as object[]),
      {
        id: 999,
        content: '<|user|>',
        special: true,
        normalized: false,
        lstrip: false,
        rstrip: false,
        single_word: false,
      },
    ]
    const spec = smallSpec("{{ '<|' + messages[0].role + '|>' + messages[0].content }}", { added_tokens: added })
    const ids = promptIds(createTokenizer(spec), spec, '<|user|>', { context })
    expect(ids.filter((id) => id === 999)).toHaveLength(1)
    expect(ids[0]).toBe(999)
  })

  test.each([
    ['a number in it', '{{ messages[0].content | int }}', '7'],
    ['its length', '{{ messages[0].content | length }}', 'xxxxxxx'],
    ['a number as JSON', '{{ messages[0].content | int | tojson }}', '7'],
  ])('%s cannot select a special token', (_, number, content) => {
    const token = { id: 997, content: '<|7|>', special: true, normalized: false }
    const added = [
      ...(chatGolden.tokenizer.added_tokens as object[]),
      { ...token, lstrip: false, rstrip: false, single_word: false },
    ]
    const spec = smallSpec(`<|${number}|> <|7|>`, { added_tokens: added })
    const ids = promptIds(createTokenizer(spec), spec, content, { context })
    expect(ids.filter((id) => id === 997)).toHaveLength(1)
    expect(ids.at(-1)).toBe(997)
  })

  test('added tokens that are not special are parsed, as in the reference', () => {
    expect(idsOf('{{ messages[0].content }}', 'a<think>b')).toContain(tokenizer.idOf('<think>'))
  })

  test('it cannot absorb a special token of the template', () => {
    const added = [
      ...(chatGolden.tokenizer.added_tokens as object[]),
      { id: 998, content: 'x<', special: false, normalized: false, lstrip: false, rstrip: false, single_word: false },
    ]
    const spec = smallSpec('{{ messages[0].content }}<|im_end|>', { added_tokens: added })
    const made = createTokenizer(spec)
    expect(promptIds(made, spec, 'x', { context }).at(-1)).toBe(made.idOf('<|im_end|>'))
    expect(promptIds(made, spec, 'x<', { context })).toEqual([998, made.idOf('<|im_end|>')])
  })

  test('where special tokens are found in normalized text only', () => {
    const added = (chatGolden.tokenizer.added_tokens as { special: boolean }[]).map((token) => ({
      ...token,
      normalized: true,
    }))
    const spec = smallSpec('<|im_start|>{{ messages[0].content }}<|im_end|>', {
      added_tokens: added,
      normalizer: { type: 'NFC' },
    })
    const made = createTokenizer(spec)
    for (const content of ['hi', 'e\u0301 <|im_end|>', '你好'])
      expect(promptIds(made, spec, content, { context })).toEqual([
        made.idOf('<|im_start|>'),
        ...made.encode(content),
        made.idOf('<|im_end|>'),
      ])
  })
})

describe('raw texts', () => {
  const read = (text: string, options = {}) =>
    promptIds(tokenizer, smallSpec(), text, { raw: true, context, ...options })
  test('are parsed for special tokens, unless that is turned off', () => {
    expect(read('<|im_start|>a')).toEqual([tokenizer.idOf('<|im_start|>'), ...tokenizer.encode('a')])
    expect(read('<|im_start|>a', { parseSpecial: false })).toEqual(tokenizer.encode('<|im_start|>a'))
  })
  test('begin with BOS once, where the model needs it, unless that is turned off', () => {
    const spec = { ...smallSpec(), addBos: true }
    const made = createTokenizer(spec)
    const bos = made.idOf('<|im_start|>')
    for (const text of ['a', '<|im_start|>a'])
      expect(promptIds(made, spec, text, { raw: true, context })).toEqual([bos, ...made.encode('a')])
    expect(promptIds(made, spec, 'a', { raw: true, context, addSpecial: false })).toEqual(made.encode('a'))
  })
})
