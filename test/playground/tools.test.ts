/** The tools of the playground: their values beside Python's, and what they say of a bad call. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { shownArguments } from '../../playground/arguments.ts'
import { CalculatorError, calculated, deepest, mostCharacters, shownNumber } from '../../playground/calculator.ts'
import { playgroundTools, resultOf } from '../../playground/tools.ts'
import fc from '../helpers/properties.ts'

const call = (name: string, values: unknown) =>
  resultOf({ id: 'call00001', name, arguments: typeof values === 'string' ? values : JSON.stringify(values) })
const sum = (expression: string) => call('calculator', { expression })

describe('the calculator', () => {
  const { rows }: { rows: [string, number | null][] } = JSON.parse(
    readFileSync(new URL('../vectors/calculator.json', import.meta.url), 'utf8'),
  )

  test.each(['**', '^'])('computes what Python does, with %s for a power', (power) => {
    expect(rows.length).toBe(600)
    for (const [written, value] of rows) {
      const text = written.replaceAll('**', power)
      if (value === null) expect(() => calculated(text), text).toThrow(CalculatorError)
      // Sines and powers may differ in the last bits.
      else expect(Math.abs(calculated(text) - value), text).toBeLessThanOrEqual(1e-9 * Math.max(1, Math.abs(value)))
    }
  })

  test.each([
    ['12 * 37', '444'],
    ['0.1 + 0.2', '0.3'],
    ['2^-1', '0.5'],
    ['240 * 17%', '40.8'],
    ['17% * 240', '40.8'],
    ['10% + 1', '1.1'],
    ['7 % 3', '1'],
    ['5%%', '0.0005'],
    ['6 × 7 ÷ 2 − 1', '20'],
    ['Math.sqrt(16) + math.pi - PI', '4'],
    ['round(-2.5)', '-3'],
    ['0 * -1', '0'],
    ['9007199254740991', '9007199254740991'],
    ['2 ^ 100', '1.26765060022823e+30'],
  ])('%s is %s', (text, value) => expect(sum(text)).toBe(value))

  test.each([
    ['', /a number is missing at the end/],
    ['2 +', /a number is missing at the end/],
    ['* 2', /a number is missing before "\*"/],
    ['2 (3)', /write \* for a product/],
    ['1,000 + 1', /write numbers without commas/],
    ['(1 + 2', /a closing bracket is missing/],
    ['1 + 2)', /"\)" is not expected/],
    ['1 / (2 - 2)', /division by zero/],
    ['1 % 0', /division by zero/],
    ['sqrt(-1)', /not a real number/],
    ['10 ^ 400', /too large/],
    ['1 / 1e400', /too large/],
    ['0 * ln(0)', /too large/],
    ['log(10)', /use ln, log2 or log10/],
    ['max()', /max takes 1 to 64 numbers, not 0/],
    ['sqrt(1, 2)', /sqrt takes one number, not 2/],
    ['constructor', /constructor is not known; the constants are/],
    ['toString(1)', /tostring is not known; the functions are/],
    ['x = 1', /"=" is not part of an expression/],
    ['alert`1`', /not part of an expression/],
    ['two plus two', /two is not known/],
  ])('says what is wrong with %j', (text, why) => {
    expect(sum(text)).toMatch(/^error: /)
    expect(sum(text)).toMatch(why)
  })

  test('reads as much as it says, and no more', () => {
    const nested = (levels: number) => `${'('.repeat(levels)}1${')'.repeat(levels)}`
    expect(sum(nested(deepest))).toBe('1')
    expect(sum(nested(deepest + 1))).toMatch(/nested too deep; at most 100/)
    expect(sum(`${'-'.repeat(deepest)}1`)).toBe('1')
    expect(sum(`${'-'.repeat(deepest + 1)}1`)).toMatch(/nested too deep/)
    expect(sum(`${'1^'.repeat(deepest)}1`)).toBe('1')
    expect(sum(`${'1^'.repeat(deepest + 1)}1`)).toMatch(/nested too deep/)
    expect(sum(' '.repeat(mostCharacters - 1).concat('1'))).toBe('1')
    expect(sum(' '.repeat(mostCharacters).concat('1'))).toMatch(/has 1001 characters; at most 1000/)
    expect(sum(`max(${Array(64).fill(1).join()})`)).toBe('1')
    expect(sum(`max(${Array(65).fill(1).join()})`)).toMatch(/not 65/)
  })

  test('gives a finite number or an error for any text', () => {
    const part = fc.constantFrom(...'0123456789.+-*/%^(),e ', 'pi', 'sqrt(', 'max(', '1e9', '**', 'π', '𝟙')
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.array(part, { maxLength: 30 }).map((parts) => parts.join('')),
    )
    fc.assert(
      fc.property(text, (expression) => {
        const result = sum(expression)
        if (!result.startsWith('error: ')) expect(shownNumber(Number(result))).toBe(result)
      }),
    )
  })
})

describe('the clock', () => {
  const at = new Date('2026-07-01T21:30:05Z')
  const time = (values: unknown) =>
    resultOf({ id: '', name: 'clock', arguments: typeof values === 'string' ? values : JSON.stringify(values) }, at)

  test.each([
    ['Europe/Oslo', 'Wednesday, 2026-07-01 23:30:05 (Europe/Oslo, UTC+02:00)'],
    ['oslo', 'Wednesday, 2026-07-01 23:30:05 (Europe/Oslo, UTC+02:00)'],
    ['New York', 'Wednesday, 2026-07-01 17:30:05 (America/New_York, UTC-04:00)'],
    ['Asia/Tokyo', 'Thursday, 2026-07-02 06:30:05 (Asia/Tokyo, UTC+09:00)'],
    ['UTC', 'Wednesday, 2026-07-01 21:30:05 (UTC, UTC+00:00)'],
  ])('in %s', (time_zone, expected) => expect(time({ time_zone })).toBe(expected))

  test('is that of this device without a zone', () => {
    const { timeZone } = new Intl.DateTimeFormat().resolvedOptions()
    const here = time({ time_zone: timeZone })
    for (const values of [{}, { time_zone: null }, { time_zone: ' ' }, '', { other: 1 }])
      expect(time(values)).toBe(here)
  })

  test.each(['Mars', 'Europe/', '../etc', '__proto__', 'x'.repeat(1000)])('refuses %j', (time_zone) => {
    const result = time({ time_zone })
    expect(result).toMatch(/^error: .* is not a time zone; use a name of the IANA list/)
    expect(result.length).toBeLessThan(200)
  })
})

test.each<[string, unknown, RegExp]>([
  ['calculator', '{"expression": "1', /the arguments are not JSON/],
  ['calculator', '[1]', /not a JSON object/],
  ['calculator', 'null', /not a JSON object/],
  ['calculator', {}, /"expression" is missing/],
  ['calculator', '{"__proto__": {"expression": "1"}}', /"expression" is missing/],
  ['calculator', { expression: ['1'] }, /"expression" is not a text/],
  ['clock', { time_zone: {} }, /"time_zone" is not a text/],
  ['shell', {}, /there is no tool "shell"; there are calculator and clock/],
  ['constructor', {}, /there is no tool "constructor"/],
])('a call of %s with %j is answered with what is wrong', (name, values, why) => {
  expect(call(name, values)).toMatch(/^error: /)
  expect(call(name, values)).toMatch(why)
})

test('a number in place of an expression is one', () => expect(call('calculator', { expression: 5 })).toBe('5'))

test('arguments are shown in one line, and what is not JSON as it is', () => {
  expect(shownArguments('{\n\t"a": 1\n}')).toBe('{"a":1}')
  expect(shownArguments('{"a": ')).toBe('{"a": ')
})

test('the tools are described', () => {
  expect(playgroundTools.map(({ name }) => name)).toEqual(['calculator', 'clock'])
})
