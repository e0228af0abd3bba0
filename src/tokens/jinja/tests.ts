/** The tests of templates: what may follow `is`, and `in`. */

import { methodOf, stringOf } from './strings.ts'
import { Callable, type Key, Loop, Real, typeName, type Value } from './value.ts'
import type { Values } from './values.ts'

type Test = (values: Values, value: Value, operands: readonly Value[]) => boolean

/** Applies a test by name. Throws an Error if it is not known. */
export function passesTest(values: Values, name: string, value: Value, operands: readonly Value[]): boolean {
  const test = Object.hasOwn(tests, name) ? tests[name] : undefined
  if (!test) throw new Error(`the test ${name} is not known`)
  return test(values, value, operands)
}

const equals: Test = (values, value, [other]) => values.equal(value, other)
const ordered =
  (holds: (order: number) => boolean): Test =>
  (values, value, [other]) =>
    holds(values.compare(value, other))
const wholeNumber = (values: Values, value: Value): number => {
  const number = values.number(value)
  if (number === undefined) throw new Error(`a number is needed, not ${typeName(value)}`)
  return number
}

const tests: Readonly<Record<string, Test>> = {
  defined: (_, value) => value !== undefined,
  undefined: (_, value) => value === undefined,
  none: (_, value) => value === null,
  true: (_, value) => value === true,
  false: (_, value) => value === false,
  boolean: (_, value) => typeof value === 'boolean',
  string: (_, value) => typeof value === 'string',
  number: (_, value) => typeof value === 'number' || typeof value === 'boolean' || value instanceof Real,
  integer: (_, value) => typeof value === 'number',
  float: (_, value) => value instanceof Real,
  mapping: (_, value) => value instanceof Map,
  iterable: (_, value) =>
    value === undefined ||
    Array.isArray(value) ||
    value instanceof Map ||
    typeof value === 'string' ||
    value instanceof Loop,
  sequence: (_, value) =>
    Array.isArray(value) || value instanceof Map || typeof value === 'string' || value === undefined,
  callable: (_, value) => value instanceof Callable,
  odd: (values, value) => Math.abs(wholeNumber(values, value) % 2) === 1,
  even: (values, value) => wholeNumber(values, value) % 2 === 0,
  lower: (values, value) => values.truth(methodOf('islower')(values, values.text(value), [], new Map())),
  upper: (values, value) => values.truth(methodOf('isupper')(values, values.text(value), [], new Map())),
  eq: equals,
  equalto: equals,
  '==': equals,
  ne: (values, value, operands) => !equals(values, value, operands),
  lt: ordered((order) => order < 0),
  le: ordered((order) => order <= 0),
  gt: ordered((order) => order > 0),
  ge: ordered((order) => order >= 0),
  in: (values, value, [container]) => isIn(values, value, container),
  divisibleby: (values, value, [by]) => wholeNumber(values, value) % wholeNumber(values, by) === 0,
}

/** Returns whether `value in container` holds. Throws an Error for a container of another type. */
export function isIn(values: Values, value: Value, container: Value): boolean {
  if (container === undefined) return false
  if (typeof container === 'string') {
    values.budget.spend(container.length)
    return values.plain(container).includes(stringOf(values, value, 'in'))
  }
  if (container instanceof Map) {
    const isKey = typeof value === 'string' || typeof value === 'number'
    return isKey && container.has(values.keyIn<Key>(container, value))
  }
  if (Array.isArray(container)) return container.some((item) => values.equal(item, value))
  throw new Error(`${typeName(container)} holds nothing`)
}
