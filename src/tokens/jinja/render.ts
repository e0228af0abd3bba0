/** Renders a parsed template with the globals that Hugging Face's templates expect. */
import type { Origin } from '../origin.ts'
import { Budget, type Limits } from './budget.ts'
import { evaluateTemplate } from './evaluate.ts'
import type { Program } from './parse.ts'
import { Callable, type Key, Namespace, typeName, type Value, Values } from './values.ts'

/** Thrown when the template itself refuses the conversation, by `raise_exception`. */
export class Refused extends Error {
  override readonly name = 'Refused'
}

/** An input of a template: text of the model's own or marked text, and lists and dicts of these. */
export type TemplateInput =
  | string
  | number
  | boolean
  | null
  | readonly TemplateInput[]
  | { readonly [key: string]: TemplateInput | undefined }
  | ReadonlyMap<string, TemplateInput>

/**
 * Returns the marked text that the template makes of `names`. Throws `Refused`, `OverBudget`, and
 * an Error for anything that fails.
 */
export function renderTemplate(
  program: Program,
  names: Readonly<Record<string, TemplateInput | undefined>>,
  { origin, limits }: { readonly origin: Origin; readonly limits: Limits },
): string {
  const values = new Values(origin, new Budget(limits))
  const globals = new Map<string, Value>(globalsOf(values))
  for (const [name, input] of Object.entries(names)) if (input !== undefined) globals.set(name, toValue(input))
  return evaluateTemplate(values, program, globals)
}

function toValue(input: TemplateInput): Value {
  if (Array.isArray(input)) return input.map(toValue)
  if (typeof input !== 'object' || input === null) return input
  const entries = input instanceof Map ? [...input] : Object.entries(input).filter(([, value]) => value !== undefined)
  return new Map(entries.map(([key, value]): [Key, Value] => [key, toValue(value)]))
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

/**
 * Formats by their code, each created once, since creating one takes as long as a hundred
 * renderings.
 */
const calendarNames = new Map<string, Intl.DateTimeFormat>()

function calendarName(code: string, options: Intl.DateTimeFormatOptions, now: Date): string {
  const known = calendarNames.get(code)
  const format = known ?? new Intl.DateTimeFormat('en', options)
  if (!known) calendarNames.set(code, format)
  return format.format(now)
}

/**
 * Formats the current time as Python's strftime does, for the codes that chat templates use; other
 * codes are left unchanged.
 */
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
  return format.replace(/%(.)/g, (whole, code: string) =>
    Object.hasOwn(codes, code) ? (codes[code]?.() ?? whole) : whole,
  )
}
