/** Tries to write special tokens through random templates. */

import { expect, test } from 'vitest'
import { promptIds } from '../../src/tokens/prompt.ts'
import fc from '../helpers/properties.ts'
import { smallSpec, smallTokenizer, specials } from '../helpers/small-bpe.ts'

const tokenizer = smallTokenizer()

/** Operations of templates on user text. */
const edits = [
  (x: string) => `(${x} | trim)`,
  (x: string) => `(${x} | lower)`,
  (x: string) => `(${x} | upper | lower)`,
  (x: string) => `(${x} | title)`,
  (x: string) => `(${x} | capitalize)`,
  (x: string) => `(${x}.swapcase())`,
  (x: string) => `(${x} | replace('X', ''))`,
  (x: string) => `(${x} | replace('[', '<') | replace(']', '>'))`,
  (x: string) => `(${x} | replace('|', '|'))`,
  (x: string) => `${x}[::-1]`,
  (x: string) => `${x}[1:]`,
  (x: string) => `${x}[:-1]`,
  (x: string) => `(${x}.split('X') | join(''))`,
  (x: string) => `(${x}.split('|') | join('|'))`,
  (x: string) => `(${x}.split() | join(' '))`,
  (x: string) => `(${x}.splitlines() | join('\\n'))`,
  (x: string) => `${x}.strip('.')`,
  (x: string) => `(${x} | list | join)`,
  (x: string) => `(${x} | tojson)`,
  (x: string) => `([${x}, ${x}] | string)`,
  (x: string) => `(${x} | indent(2))`,
  (x: string) => `(${x} | string)`,
  (x: string) => `('<|' + ${x} + '|>')`,
  (x: string) => `('<' ~ ${x} ~ '>')`,
  (x: string) => `(['<|im', ${x}] | join('_'))`,
  (x: string) => `('<|{}|>'.format(${x}))`,
  (x: string) => `({'a': ${x}}['a'])`,
  (x: string) => `(${x} if ${x} is string else '')`,
  (x: string) => `(${x} | reverse)`,
  (x: string) => `([1] | tojson(indent=${x}))`,
  (x: string) => `strftime_now(${x})`,
  (x: string) => `(dict(**{${x}: 1}) | string)`,
  (x: string) => `(namespace(**{${x}: 1}) | string)`,
]
const template = fc
  .record({
    ops: fc.array(fc.constantFrom(...edits), { maxLength: 5 }),
    field: fc.constantFrom(
      'm.content',
      'm.name',
      'm.reasoning_content',
      'm.tool_call_id',
      'tools[0].function.description',
      '(tools[0].function.parameters | list | first)',
    ),
    wrap: fc.constantFrom(
      (x: string) => `{{ ${x} }}`,
      (x: string) => `{% set t = ${x} %}{{ t }}`,
      (x: string) => `{% set t %}{{ ${x} }}{% endset %}{{ t }}`,
      (x: string) => `{% for c in ${x} %}{{ c }}{% endfor %}`,
      (x: string) => `{% macro f(y) %}{{ y }}{% endmacro %}{{ f(${x}) }}`,
      (x: string) => `{% filter lower %}{{ ${x} }}{% endfilter %}`,
      (x: string) => `{% macro f() %}{% for k in kwargs %}{{ k }}{% endfor %}{% endmacro %}{{ f(**{${x}: 1}) }}`,
    ),
    around: fc.constantFrom(
      ['<|im_start|>user\n', '<|im_end|>\n'],
      ['<|', '|>'],
      ['<', '>'],
      ['', ''],
      ['<|im_', '|>'],
    ),
  })
  .map(({ ops, field, wrap, around: [before, behind] }) => {
    const expression = ops.reduce<string>((x, edit) => edit(x), field)
    return `.{% for m in messages %}${before}${wrap(expression)}${behind}{% endfor %}`
  })

const whole = fc.constantFrom(...specials)
const parts = fc.constantFrom(
  '<|',
  '|>',
  '<',
  '>',
  '|',
  'im_end',
  'im_start',
  'im_',
  'end',
  'X',
  '[',
  ']',
  ' ',
  '\n',
  '.',
  '"',
  '\\',
)
const text = fc
  .array(
    fc.oneof(
      whole,
      parts,
      whole.map((special) => special.toUpperCase()),
      whole.map((special) => [...special].reverse().join('')),
      whole.map((special) => special.replace('_', 'X_')),
      whole.map((special) => special.replace('s', '\u017f').replace('i', '\u0130')),
      whole.map((special) => `[${special.slice(1, -1)}]`),
      whole.map((special) => special.slice(1)),
      whole.map((special) => special.slice(0, -2)),
      fc.string({ unit: 'grapheme', maxLength: 5 }),
    ),
    { minLength: 1, maxLength: 6 },
  )
  .map((all) => all.join(''))

test('for any template the special tokens are those that it wrote', () => {
  const special = (source: string, content: string) => {
    const message = { role: 'user', content, name: content, reasoning_content: content, tool_call_id: content }
    const tool = { function: { name: 'f', description: content, parameters: { [content]: content } } }
    const options = { context: 1e6, templateValues: { tools: [tool] } }
    return promptIds(tokenizer, smallSpec(source), [message as never], options).filter((id) => tokenizer.isSpecial(id))
  }
  fc.assert(
    fc.property(template, text, (source, content) => {
      // A user who writes little; if the template cuts some off, there must be something to cut.
      expect(special(source, content)).toEqual(special(source, 'xyxyxyxy'))
    }),
    { numRuns: 3000 },
  )
})
