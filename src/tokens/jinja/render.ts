/** Renders a parsed template with the names that Hugging Face's templates expect. */
import type { Origin } from '../origin.ts'
import { Budget, type Limits } from './budget.ts'
import { evaluateTemplate } from './evaluate.ts'
import type { Program } from './parse.ts'
import { Callable, type Key, Namespace, typeName, type Value, Values } from './values.ts'

/** What a template raised itself: it refuses the conversation. */
export class Refused extends Error {
  override readonly name = 'Refused'
}

/** What a name stands for: text of the model's, or marked; lists and dicts of these. */
export type Given =
  | string
  | number
  | boolean
  | null
  | readonly Given[]
  | { readonly [key: string]: Given | undefined }
  | ReadonlyMap<string, Given>

/** The text that the template makes of `names`, marked. Throws `Refused`, `OverBudget`, and an Error for what fails. */
export function renderTemplate(
  program: Program,
  names: Readonly<Record<string, Given | undefined>>,
  { origin, limits }: { readonly origin: Origin; readonly limits: Limits },
): string {
  const values = new Values(origin, new Budget(limits))
  const globals = new Map<string, Value>(globalsOf(values))
  for (const [name, given] of Object.entries(names)) if (given !== undefined) globals.set(name, ownValue(given))
  return evaluateTemplate(values, program, globals)
}

function ownValue(given: Given): Value {
  if (Array.isArray(given)) return given.map(ownValue)
  if (typeof given !== 'object' || given === null) return given
  const entries = given instanceof Map ? [...given] : Object.entries(given).filter(([, value]) => value !== undefined)
  return new Map(entries.map(([key, value]): [Key, Value] => [key, ownValue(value)]))
}

function globalsOf(values: Values): [string, Value][] {
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
        const told = strftimeNow(text(values, format, 'strftime_now'))
        return values.origin.isMarked(format as string) ? values.origin.mark(told) : told
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

function fieldsOf(values: Values, given: Value, named: ReadonlyMap<string, Value>): Map<string, Value> {
  const fields = new Map<string, Value>()
  if (given instanceof Map) {
    values.budget.spendEntries(given.size)
    for (const [key, value] of given) fields.set(String(key), value)
  } else if (given !== undefined)
    for (const pair of values.items(given)) {
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

/** Making one takes as long as a hundred renderings: by code, each is made once. */
const calendarNames = new Map<string, Intl.DateTimeFormat>()

function calendarName(code: string, options: Intl.DateTimeFormatOptions, now: Date): string {
  const known = calendarNames.get(code)
  const format = known ?? new Intl.DateTimeFormat('en', options)
  if (!known) calendarNames.set(code, format)
  return format.format(now)
}

/** Python's strftime of now, for the codes that chat templates use; others stay as they are. */
function strftimeNow(format: string): string {
  const now = new Date()
  const two = (value: number) => String(value).padStart(2, '0')
  const codes: Readonly<Record<string, () => string>> = {
    Y: () => String(now.getFullYear()),
    y: () => two(now.getFullYear() % 100),
    m: () => two(now.getMonth() + 1),
    d: () => two(now.getDate()),
    H: () => two(now.getHours()),
    I: () => two(now.getHours() % 12 || 12),
    M: () => two(now.getMinutes()),
    S: () => two(now.getSeconds()),
    p: () => (now.getHours() < 12 ? 'AM' : 'PM'),
    b: () => calendarName('b', { month: 'short' }, now),
    B: () => calendarName('B', { month: 'long' }, now),
    a: () => calendarName('a', { weekday: 'short' }, now),
    A: () => calendarName('A', { weekday: 'long' }, now),
    '%': () => '%',
  }
  return format.replace(/%(.)/g, (whole, code: string) => (Object.hasOwn(codes, code) ? codes[code]!() : whole))
}
