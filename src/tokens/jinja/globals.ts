/** The globals that Hugging Face's templates expect. */

import { strftimeNow } from './strftime.ts'
import { Callable, type Key, Namespace, typeName, type Value } from './value.ts'
import type { Values } from './values.ts'

/** Thrown when the template itself refuses the conversation, by `raise_exception`. */
export class Refused extends Error {
  override readonly name = 'Refused'
}

/** Returns the globals by name. */
export function globalsOf(values: Values): [string, Value][] {
  return [
    ['true', true],
    ['True', true],
    ['false', false],
    ['False', false],
    ['none', null],
    ['None', null],
    ['range', new Callable((args) => range(values, args))],
    ['namespace', new Callable((args, named) => new Namespace(fieldsOf(values, args[0], named)))],
    ['dict', new Callable((args, named) => new Map<Key, Value>(fieldsOf(values, args[0], named)))],
    [
      'strftime_now',
      new Callable(([format]) => {
        const time = strftimeNow(text(values, format, 'strftime_now'))
        return values.origin.isMarked(format as string) ? values.origin.mark(time) : time
      }),
    ],
    [
      'raise_exception',
      new Callable(([message]) => {
        throw new Refused(typeof message === 'string' ? values.plain(message) : '')
      }),
    ],
  ]
}

function text(values: Values, value: Value, where: string): string {
  if (typeof value !== 'string') throw new Error(`${where}() takes a string, not ${typeName(value)}`)
  values.budget.spend(value.length)
  return values.plain(value)
}

function fieldsOf(values: Values, source: Value, named: ReadonlyMap<string, Value>): Map<string, Value> {
  const fields = new Map<string, Value>()
  if (source instanceof Map) {
    values.budget.spendEntries(source.size)
    for (const [key, value] of source) fields.set(String(key), value)
  } else if (source !== undefined)
    for (const pair of values.items(source)) {
      const [key, value, ...more] = values.items(pair)
      if (typeof key !== 'string' || more.length > 0) throw new Error('a dict is made of pairs of a string and a value')
      fields.set(key, value)
    }
  for (const [key, value] of named) fields.set(key, value)
  return fields
}

function range(values: Values, args: readonly Value[]): number[] {
  const numbers = args.map((value) => (value === undefined ? undefined : values.number(value)))
  const [first = Number.NaN, second, step = 1] = numbers
  const [from, to] = second === undefined ? [0, first] : [first, second]
  const length = Math.max(0, Math.ceil((to - from) / step))
  if (!(length < Infinity)) throw new Error(`range(${numbers.join(', ')})`)
  values.budget.spendElements(length)
  return Array.from({ length }, (_, at) => from + at * step)
}
