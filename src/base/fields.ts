/**
 * Tables of checks for the fields of options. A table has an entry for each field of its type, so
 * that a field without a check does not compile, and what comes out of a table is what its type
 * says: only then may a message quote it.
 */

import { bytesOf, fieldsOf, functionOf, listOf, oneOf, textOf, wrong } from './checks.ts'
import { isWhole } from './numbers.ts'

/** Returns the value of a field, or throws `bad_argument` with its name. */
export type Check<T> = (name: string, value: unknown) => T

/** A check that is called for an absent field, too. */
export type Needed<T> = Check<T> & { readonly needed: true }

/** The check of each field of `T`. Those of fields that must be there are `needed`. */
export type Checks<T> = {
  readonly [K in keyof T]-?: Record<never, never> extends Pick<T, K> ? Check<NonNullable<T[K]>> : Needed<T[K]>
}

/** Returns the check for a field that must be there. */
export function needed<T>(check: Check<T>): Needed<T> {
  return Object.assign((name: string, value: unknown) => check(name, value), { needed: true as const })
}

/**
 * Reads each known field of an object once and checks it; null counts as absent, and unknown fields
 * are left out. Where the object may be absent, null and undefined give an empty one. Throws
 * `bad_argument`, and what a getter throws.
 */
export function checkedFields<T extends object>(
  name: string,
  value: unknown,
  checks: Checks<T>,
  may: 'be absent' | 'not' = 'not',
): T {
  if ((value === undefined || value === null) && may === 'be absent') return {} as T
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(name, 'an object', value)
  const checked: Record<string, unknown> = {}
  for (const [field, check] of Object.entries<Check<unknown> | Needed<unknown>>(checks as never)) {
    const found = (value as Readonly<Record<string, unknown>>)[field]
    if ((found !== undefined && found !== null) || 'needed' in check) checked[field] = check(field, found)
  }
  return checked as T
}

/** Checks for true and false. */
export function flag(name: string, value: unknown): boolean {
  if (typeof value !== 'boolean') throw wrong(name, 'true or false', value)
  return value
}

/** Checks for a number of any value, NaN included: its range is checked where it is used. */
export function anyNumber(name: string, value: unknown): number {
  if (typeof value !== 'number') throw wrong(name, 'a number', value)
  return value
}

/** Returns the check for a number from `least` to `most`. */
export function numberFrom(least: number, most = Number.MAX_VALUE): Check<number> {
  return (name, value) => {
    if (typeof value === 'number' && value >= least && value <= most) return value
    throw wrong(name, `a number ${rangeOf(least, most, Number.MAX_VALUE)}`, value)
  }
}

/** Returns the check for a whole number from `least` to `most`. */
export function wholeFrom(least: number, most = Number.MAX_SAFE_INTEGER): Check<number> {
  return (name, value) => {
    if (isWhole(value, least, most)) return value
    throw wrong(name, `a whole number ${rangeOf(least, most, Number.MAX_SAFE_INTEGER)}`, value)
  }
}

function rangeOf(least: number, most: number, greatest: number): string {
  return most >= greatest ? `from ${least}` : `from ${least} to ${most}`
}

/** Returns the check for one of `names`. */
export function nameOf<T extends string>(names: readonly T[]): Check<T> {
  return (name, value) => oneOf(name, value, names)
}

/** Returns the check for a list, which it copies; `entry` checks each entry. */
export function listWith<T>(entry: Check<T>): Check<readonly T[]> {
  return (name, value) => {
    const checked = (one: unknown, index: number) => {
      try {
        return entry(name, one)
      } catch {
        // Only now, since a prompt may have a hundred thousand entries.
        return entry(`${name}[${index}]`, one)
      }
    }
    // `map` would skip the holes of a sparse list.
    return Array.from(listOf<unknown>(name, value), checked)
  }
}

/** Checks for a list of texts. */
export const texts = listWith(textOf)

/** Checks for a Uint8Array. */
export const bytes: Check<Uint8Array> = bytesOf

/** Returns the check for a function. Its results are the caller's. */
export function callable<T>(): Check<T> {
  return (name, value) => functionOf(name, value) as T
}

/**
 * Returns the check for an object, of which only the kind is looked at: its members are read, and
 * checked, where it is used.
 */
export function anyObject<T>(): Check<T> {
  return (name, value) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(name, 'an object', value)
    return value as T
  }
}

/**
 * Returns the check for an object with these methods. What they return is not checked.
 */
export function withMethods<T extends object>(...methods: readonly (keyof T & string)[]): Check<T> {
  return (name, value) => {
    const object = anyObject<T>()(name, value)
    for (const method of methods) functionOf(`${name}.${method}`, object[method])
    return object
  }
}

/** Returns the check for a map of fields, which it copies. */
export function anyFields<T extends object>(): Check<T> {
  return (name, value) => fieldsOf(name, value as T)
}
