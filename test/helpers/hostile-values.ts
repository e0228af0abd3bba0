/** Values that programs in JavaScript pass by mistake, or on purpose. */
import { expect } from 'vitest'
import { asForetokenError, errorCodes, ForetokenError } from '../../src/index.ts'

/** What the getters and traps of these values throw. */
export const ownError = new Error('out of a getter')

/** Returns an object whose field throws when it is read. */
export function throwing(name: string): object {
  return Object.defineProperty({}, name, {
    enumerable: true,
    get() {
      throw ownError
    },
  })
}

/** Returns an object that throws whatever is done with it. */
export function trap(): object {
  return new Proxy(
    {},
    {
      get() {
        throw ownError
      },
      ownKeys() {
        throw ownError
      },
    },
  )
}

/** Makes each value; those that throw themselves are told apart. */
export const hostile: Readonly<Record<string, { readonly make: () => unknown; readonly throws?: boolean }>> = {
  null: { make: () => null },
  undefined: { make: () => undefined },
  true: { make: () => true },
  false: { make: () => false },
  'an empty text': { make: () => '' },
  'a text': { make: () => 'abc' },
  'a numeric text': { make: () => '1' },
  0: { make: () => 0 },
  '-0': { make: () => -0 },
  '-1': { make: () => -1 },
  1: { make: () => 1 },
  1.5: { make: () => 1.5 },
  NaN: { make: () => Number.NaN },
  Infinity: { make: () => Number.POSITIVE_INFINITY },
  '-Infinity': { make: () => Number.NEGATIVE_INFINITY },
  '2^53': { make: () => 2 ** 53 },
  '1e308': { make: () => 1e308 },
  'a bigint': { make: () => 10n },
  'a large bigint': { make: () => 2n ** 70n },
  'a symbol': { make: () => Symbol('s') },
  'a function': { make: () => () => 1 },
  'a function that throws': {
    make: () => () => {
      throw ownError
    },
  },
  'an async function that rejects': { make: () => async () => Promise.reject(ownError) },
  'a list': { make: () => [] },
  'an object': { make: () => ({}) },
  'a date': { make: () => new Date(0) },
  'an invalid date': { make: () => new Date(Number.NaN) },
  'a pattern': { make: () => /x/ },
  'a map': { make: () => new Map() },
  'a set': { make: () => new Set([1]) },
  bytes: { make: () => new Uint8Array(3) },
  floats: { make: () => new Float64Array(2) },
  'a buffer': { make: () => new ArrayBuffer(4) },
  'an object without a prototype': { make: () => Object.create(null) },
  'a list whose entry has no text': { make: () => [Object.create(null)] },
  'an object whose text is none': { make: () => ({ toString: 1, valueOf: 1 }) },
  'an object whose text throws': {
    make: () => ({
      toString() {
        throw ownError
      },
    }),
  },
  'an object whose JSON throws': {
    make: () => ({
      toJSON() {
        throw ownError
      },
    }),
  },
  'a function whose text throws': {
    make: () =>
      Object.assign(() => 1, {
        toString() {
          throw ownError
        },
      }),
  },
  'a ring': {
    make: () => {
      const ring: unknown[] = []
      ring.push(ring)
      return ring
    },
  },
  'a sparse list': { make: () => new Array(3) },
  'an error': { make: () => new Error('x') },
  'a promise': { make: () => Promise.resolve(1) },
  'a getter that throws': { make: () => throwing('length'), throws: true },
  'traps that throw': { make: trap, throws: true },
}

/** Ways to hide a value in another. */
export const wraps: Readonly<Record<string, (value: unknown) => unknown>> = {
  'by itself': (value) => value,
  'in a list': (value) => [value],
  'behind a number': (value) => [1, value],
  'in a list in a list': (value) => [[value]],
  'in an object': (value) => ({ 1: value }),
  'as a message': (value) => [{ role: 'user', content: value }],
}

/**
 * Throws unless the error is a ForetokenError of the closed list that is not `internal`. One about
 * arguments must come from a check, which names them, and not from work that met what it did not
 * expect, unless the value throws by itself.
 */
export function expectClosed(error: unknown, mayThrow = true): void {
  const closed = error instanceof ForetokenError && errorCodes.includes(error.code) && error.code !== 'internal'
  if (closed && (mayThrow || !/can't be read/.test(error.message))) return
  const { code, message, cause } = asForetokenError(error)
  const stack = cause instanceof Error ? cause.stack : (error as Error)?.stack
  throw new Error(`not a ForetokenError from a check: ${code}: ${message}\n${stack}`)
}

/** Calls and returns the failure that `expectClosed` finds, if any. */
export async function failureOf(call: () => unknown, mayThrow = true): Promise<string | undefined> {
  try {
    await call()
  } catch (error) {
    try {
      expectClosed(error, mayThrow)
    } catch (failure) {
      return String(failure)
    }
  }
  return undefined
}

/** Expects that calls of `call` with each hostile value, hidden in each way, fail as they should. */
export async function expectCareful(call: (value: unknown) => unknown, ways = wraps): Promise<void> {
  const failures: Record<string, string> = {}
  for (const [name, { make, throws = false }] of Object.entries(hostile))
    for (const [how, wrap] of Object.entries(ways)) {
      const failure = await failureOf(() => call(wrap(make())), throws || /throws|rejects/.test(name))
      if (failure !== undefined) failures[`${name} ${how}`] = failure
    }
  expect(failures).toEqual({})
}
