/** Seeds on the command line: any of 64 bits, as in the API. */
import { expect, test } from 'vitest'
import { parseLine } from '../../cli/batch/lines.ts'
import { parse, startSeed, UsageError } from '../../cli/parse.ts'

const seedOf = (text: string) => parse(['run', '--seed', text, 'x']).flags.seed

test('every 64-bit integer is a seed, and keeps all of its bits', () => {
  for (const seed of ['0', '-1', '7', '9007199254740993', '9223372036854775807', '-9223372036854775808'])
    expect(String(seedOf(seed))).toBe(seed)
  for (const text of ['9223372036854775808', '-9223372036854775809', '1.5', 'x', ''])
    expect(() => seedOf(text)).toThrow(UsageError)
})

test('commands that count up from a seed require room for that', () => {
  expect(startSeed({})).toBe(1)
  expect(startSeed({ seed: 2 ** 40 - 1 })).toBe(2 ** 40 - 1)
  for (const seed of [-1, 2 ** 40, 2n ** 60n]) expect(() => startSeed({ seed })).toThrow(/increments it/)
})

test('lines of a batch keep all bits, too', () => {
  const line = (seed: string) => new TextEncoder().encode(`{"prompt": "x", "seed": ${seed}}`)
  expect(parseLine(line('9223372036854775807'), {}).request.seed).toBe(2n ** 63n - 1n)
  expect(parseLine(line('-3'), {}).request.seed).toBe(-3)
  expect(() => parseLine(line('9223372036854775808'), {})).toThrow(/64 bits/)
})

test('a limit of -1 means no limit for an answer, and -2 is refused', () => {
  expect(parse(['run', '-n', '-1', 'x']).flags['max-tokens']).toBe(-1)
  expect(() => parse(['run', '-n', '-2', 'x'])).toThrow(UsageError)
})
