/** Recognises a ForetokenError of any copy of the package. */
import { expect, test } from 'vitest'
import { asForetokenError, ForetokenError } from '../../src/base/errors.ts'

class LineError extends ForetokenError {}

/** An error as another bundle's class creates it. */
function foreign(name: string, code: unknown): Error {
  return Object.assign(new Error('no'), { name, code })
}

test.each<[string, unknown, boolean]>([
  ['its own', new ForetokenError('busy', 'no'), true],
  ['a subclass', new LineError('busy', 'no'), true],
  ['another copy’s', foreign('ForetokenError', 'busy'), true],
  ['one with a code that is not in the list', foreign('ForetokenError', 'lazy'), false],
  ['one without a code', foreign('ForetokenError', undefined), false],
  ['another error', foreign('TypeError', 'busy'), false],
  ['what only looks like one', { name: 'ForetokenError', code: 'busy', message: 'no' }, false],
  ['nothing', undefined, false],
])('%s', (_, value, is) => {
  expect(value instanceof ForetokenError).toBe(is)
  if (is) expect(asForetokenError(value)).toBe(value)
  else expect(asForetokenError(value)).toMatchObject({ code: 'internal' })
})

test.each<[string, () => unknown]>([
  ['an object without a prototype', () => Object.create(null)],
  ['a toString that throws', () => ({ toString: trap })],
  ['traps that throw', () => new Proxy({}, { getPrototypeOf: trap, get: trap })],
  ['an error whose message throws', () => Object.defineProperty(new Error('x'), 'message', { get: trap })],
  ['a symbol', () => Symbol('x')],
])('wrapping never throws: %s', (_, made) => {
  const thrown = made()
  const error = asForetokenError(thrown)
  expect(error.code).toBe('internal')
  expect(error.cause === thrown).toBe(true)
})

function trap(): never {
  throw new Error('sprung')
}

test('a subclass is recognised by its own class alone', () => {
  expect(new LineError('busy', 'no')).toBeInstanceOf(LineError)
  expect(new ForetokenError('busy', 'no')).not.toBeInstanceOf(LineError)
  expect(foreign('ForetokenError', 'busy')).not.toBeInstanceOf(LineError)
})
