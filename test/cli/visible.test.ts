/** Tests how untrusted text is shown on a terminal. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { visible, visibleName } from '../../cli/visible.ts'
import fc from '../helpers/properties.ts'

const controls = [...Array(32).keys(), ...Array.from({ length: 33 }, (_, n) => 0x7f + n)].map((code) =>
  String.fromCharCode(code),
)

describe('escaped text', () => {
  test('escapes every control character but tab and newline', () => {
    for (const control of controls) {
      const passes = control === '\t' || control === '\n'
      const shown = `\\u${control.charCodeAt(0).toString(16).padStart(4, '0')}`
      expect(visible(`a${control}b`)).toBe(passes ? `a${control}b` : `a${shown}b`)
    }
  })

  test.each([
    ['a colour', '\x1b[31mred', '\\u001b[31mred'],
    ['a title', '\x1b]0;owned\x07', '\\u001b]0;owned\\u0007'],
    ['a C1 sequence', '\x9b31m', '\\u009b31m'],
    ['a line that is written over', 'safe\revil', 'safe\\u000devil'],
    ['an order turned round', 'a\u202eb\u202c', 'a\\u202eb\\u202c'],
    ['isolates', '\u2066a\u2069', '\\u2066a\\u2069'],
  ])('escapes %s', (_, text, shown) => expect(visible(text)).toBe(shown))

  test('keeps ordinary text: lines, tabs, emoji, joiners, direction marks', () => {
    for (const text of [
      'a\n\tb',
      '👩‍👩‍👧',
      'می\u200cخواهم',
      'שלום\u200f!',
      '🏴\u{e0067}\u{e0062}\u{e007f}',
      '½ € 漢字',
    ])
      expect(visible(text)).toBe(text)
    expect(visible('a\r\nb')).toBe('a\nb')
  })

  test('is as harmless in pieces as whole, and escaped the same', () => {
    const text = fc.string({
      unit: fc.constantFrom('\x1b', '[', '3', '1', 'm', '\x9b', '\x07', ']', '\u202e', 'a', '\n', '👩'),
      maxLength: 20,
    })
    fc.assert(
      fc.property(text, fc.nat(20), (text, cut) => {
        const points = [...text]
        const pieces = [points.slice(0, cut).join(''), points.slice(cut).join('')]
        expect(pieces.map(visible).join('')).toBe(visible(text))
        for (const control of controls) if (control !== '\n') expect(visible(text)).not.toContain(control)
      }),
    )
  })

  test('of JSON is still the same JSON', () => {
    const value = { text: 'a\x7f\x9b\u202e"\\' }
    expect(JSON.parse(visible(JSON.stringify(value)))).toEqual(value)
  })
})

test('a name is on one line, and its invisible characters are escaped', () => {
  expect(visibleName('a\nb\tc')).toBe('a\\u000ab\\u0009c')
  expect(visibleName('pay\u200bpal\ufeff\u2028\u200f')).toBe('pay\\u200bpal\\ufeff\\u2028\\u200f')
  expect(visibleName('x\u{e0041}')).toBe('x\\udb40\\udc41')
  expect(visibleName('ünï 👩 漢')).toBe('ünï 👩 漢')
})

test('the command writes to a terminal through these functions only', () => {
  const root = fileURLToPath(new URL('../../cli', import.meta.url))
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'))
  const writers = files.filter((name) =>
    /std(out|err)\.write\((?!'',)|console\./.test(readFileSync(join(root, name), 'utf8')),
  )
  expect(writers).toEqual(['terminal.ts'])
})
