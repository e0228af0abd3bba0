/**
 * Checks of arguments, since programs in JavaScript pass anything. Each throws `bad_argument` with
 * the name of the argument, and reads each field of an object once.
 */

import { asForetokenError, ForetokenError } from './errors.ts'
import { isWhole } from './numbers.ts'

/**
 * Runs work that reads a caller's arguments. Any failure but a ForetokenError is the arguments'
 * fault (a getter that throws, a value of an unforeseen kind), and becomes `bad_argument`.
 */
export function withArguments<T>(name: string, work: () => T): T {
  const fault = (error: unknown) => asForetokenError(error, 'bad_argument', `the arguments of ${name} can't be read`)
  try {
    const result = work()
    if (!(result instanceof Promise)) return result
    return result.catch((error) => {
      throw fault(error)
    }) as T
  } catch (error) {
    throw fault(error)
  }
}

/** Runs work on one argument of several. A refusal names it, unless it names another. */
export function about<T>(argument: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    const { code, message, argument: named, cause } = asForetokenError(error)
    if (named !== undefined || (code !== 'bad_argument' && code !== 'unsupported')) throw error
    throw new ForetokenError(code, message, { cause, argument })
  }
}

/**
 * Returns a copy of an object's own fields without those that are null or undefined. Where the
 * object may be absent, null and undefined give an empty one.
 */
export function fieldsOf<T extends object>(
  name: string,
  value: T | null | undefined,
  may: 'be absent' | 'not' = 'not',
): T {
  if ((value === undefined || value === null) && may === 'be absent') return {} as T
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(name, 'an object', value)
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined && field !== null)) as T
}

/** Returns `value` if it is a string. */
export function textOf(name: string, value: unknown): string {
  if (typeof value !== 'string') throw wrong(name, 'a string', value)
  return value
}

/** Returns `value` if it is an array. Does not look at its elements. */
export function listOf<T>(name: string, value: unknown): readonly T[] {
  if (!Array.isArray(value)) throw wrong(name, 'a list', value)
  return value as T[]
}

/** Returns a copy of a list of token ids, each below `vocab`. */
export function idsOf(name: string, value: unknown, vocab: number): readonly number[] {
  const ids = listOf<unknown>(name, value).slice()
  const wrong = ids.findIndex((id) => !isWhole(id, 0, vocab - 1))
  if (wrong >= 0) idOf(`${name}[${wrong}]`, ids[wrong], vocab)
  return ids as number[]
}

/** Returns `id` if it is a whole number from 0 to `vocab` - 1. */
export function idOf(name: string, id: unknown, vocab: number): number {
  if (isWhole(id, 0, vocab - 1)) return id
  throw new ForetokenError('bad_argument', `${name}: ${shown(id)} is not a token id of the vocabulary 0..${vocab - 1}`)
}

/** Returns `value` if it is a Uint8Array, of this realm or another. */
export function bytesOf(name: string, value: unknown): Uint8Array<ArrayBuffer> {
  if (!ArrayBuffer.isView(value) || Object.prototype.toString.call(value) !== '[object Uint8Array]')
    throw wrong(name, 'a Uint8Array', value)
  return value as Uint8Array<ArrayBuffer>
}

/** Returns `value` if it is one of `list`. */
export function oneOf<T extends string>(name: string, value: unknown, list: readonly T[]): T {
  if (!list.includes(value as T)) throw wrong(name, `one of ${list.join(', ')}`, value)
  return value as T
}

/** Returns `value` if it is a function. */
export function functionOf<T>(name: string, value: T): T {
  if (typeof value !== 'function') throw wrong(name, 'a function', value)
  return value
}

/**
 * Returns `value` if it is an AbortSignal of any realm or library, and undefined for null and
 * undefined.
 */
export function signalOf(name: string, value: unknown): AbortSignal | undefined {
  if (value === undefined || value === null) return undefined
  const { aborted, addEventListener } = value as Partial<AbortSignal>
  if (typeof aborted !== 'boolean' || typeof addEventListener !== 'function') throw wrong(name, 'an AbortSignal', value)
  return value as AbortSignal
}

/** Returns the error for an argument that must be something else. */
export function wrong(name: string, wanted: string, value: unknown): ForetokenError {
  return new ForetokenError('bad_argument', `${name} is ${shown(value)}; it must be ${wanted}`)
}

/** Returns a short text for a caller's value in a message. Calls none of its methods. */
export function shown(value: unknown): string {
  if (typeof value === 'string')
    return value.length > 40 ? `a string of ${value.length} characters` : JSON.stringify(value)
  if (value === null || ['number', 'boolean', 'undefined', 'bigint'].includes(typeof value))
    return String(value).slice(0, 40)
  return Array.isArray(value) ? 'a list' : `of type ${typeof value}`
}
