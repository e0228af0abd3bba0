/**
 * Checks of what callers hand in: programs in JavaScript hand in anything. Each throws `bad_argument` with the argument's name, and what it reads of an
 * object it reads once.
 */

import { asForetokenError, ForetokenError } from './errors.ts'
import { isWhole } from './numbers.ts'

/**
 * Runs what reads a caller's arguments. Whatever else than a ForetokenError comes of it is their fault: a getter that throws, or a value of a kind that
 * nobody foresaw.
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

/** A copy of an object's own fields, without those that are null or undefined: these are as absent. No object at all is an empty one where it may be. */
export function fieldsOf<T extends object>(
  name: string,
  value: T | null | undefined,
  may: 'be absent' | 'not' = 'not',
): T {
  if ((value === undefined || value === null) && may === 'be absent') return {} as T
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(name, 'an object', value)
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined && field !== null)) as T
}

export function textOf(name: string, value: unknown): string {
  if (typeof value !== 'string') throw wrong(name, 'a text', value)
  return value
}

export function listOf<T>(name: string, value: unknown): readonly T[] {
  if (!Array.isArray(value)) throw wrong(name, 'a list', value)
  return value as T[]
}

/** Token ids, each of a vocabulary of `vocab`. */
export function idsOf(name: string, value: unknown, vocab: number): readonly number[] {
  const ids = listOf<unknown>(name, value).slice()
  for (const id of ids) idOf(name, id, vocab)
  return ids as number[]
}

export function idOf(name: string, id: unknown, vocab: number): number {
  if (isWhole(id, 0, vocab - 1)) return id
  throw new ForetokenError('bad_argument', `${name}: ${shown(id)} is not a token id of the vocabulary 0..${vocab - 1}`)
}

/** Bytes, also of another realm. */
export function bytesOf(name: string, value: unknown): Uint8Array<ArrayBuffer> {
  if (!ArrayBuffer.isView(value) || Object.prototype.toString.call(value) !== '[object Uint8Array]')
    throw wrong(name, 'a Uint8Array', value)
  return value as Uint8Array<ArrayBuffer>
}

export function functionOf<T>(name: string, value: T): T {
  if (typeof value !== 'function') throw wrong(name, 'a function', value)
  return value
}

/** A signal, also of another realm or library; or none. */
export function signalOf(name: string, value: unknown): AbortSignal | undefined {
  if (value === undefined || value === null) return undefined
  const { aborted, addEventListener } = value as Partial<AbortSignal>
  if (typeof aborted !== 'boolean' || typeof addEventListener !== 'function') throw wrong(name, 'an AbortSignal', value)
  return value as AbortSignal
}

export function wrong(name: string, wanted: string, value: unknown): ForetokenError {
  return new ForetokenError('bad_argument', `${name} is ${shown(value)}; it must be ${wanted}`)
}

/** A value in a message: short, and never read any further. */
function shown(value: unknown): string {
  if (typeof value === 'string') return value.length > 40 ? `a text of ${value.length} letters` : JSON.stringify(value)
  if (value === null || ['number', 'boolean', 'undefined', 'bigint'].includes(typeof value))
    return String(value).slice(0, 40)
  return Array.isArray(value) ? 'a list' : `of type ${typeof value}`
}
