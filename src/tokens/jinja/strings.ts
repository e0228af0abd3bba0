/**
 * Implements Python's string methods for templates. Strings are marked: operations examine the
 * plain text, which has the same length, and cut the marked one.
 */
import { type Dict, Real, typeName, type Value } from './value.ts'
import type { Values } from './values.ts'

type Method = (values: Values, text: string, args: readonly Value[], named: ReadonlyMap<string, Value>) => Value

/** Returns a method by name, or undefined if strings do not have it. */
export function stringMethod(name: string): Method | undefined {
  return isMethod(name) ? methods[name] : undefined
}

/** The name of a method that strings have. */
export type StringMethod = keyof typeof methods

/** Returns a method by a name that is known to exist. */
export function methodOf(name: StringMethod): Method {
  return methods[name]
}

function isMethod(name: string): name is StringMethod {
  return Object.hasOwn(methods, name)
}

const methods = {
  upper: (values, text) => changed(values, text, (plain) => plain.toUpperCase()),
  lower: (values, text) => changed(values, text, (plain) => plain.toLowerCase()),
  casefold: (values, text) => changed(values, text, (plain) => plain.toLowerCase()),
  title: (values, text) => changed(values, text, titleCase),
  capitalize: (values, text) => changed(values, text, capitalized),
  swapcase: (values, text) =>
    changed(values, text, (plain) =>
      plain.replace(/\p{L}/gu, (c) => (c === c.toLowerCase() ? c.toUpperCase() : c.toLowerCase())),
    ),
  strip: (values, text, [characters]) => stripped(values, text, characters, true, true),
  lstrip: (values, text, [characters]) => stripped(values, text, characters, true, false),
  rstrip: (values, text, [characters]) => stripped(values, text, characters, false, true),
  removeprefix(values, text, [prefix]) {
    const cut = stringOf(values, prefix, 'removeprefix')
    return values.plain(text).startsWith(cut) ? text.slice(cut.length) : text
  },
  removesuffix(values, text, [suffix]) {
    const cut = stringOf(values, suffix, 'removesuffix')
    return cut !== '' && values.plain(text).endsWith(cut) ? text.slice(0, -cut.length) : text
  },
  startswith: (values, text, [prefix]) =>
    oneOrMany(prefix).some((each) => values.plain(text).startsWith(stringOf(values, each, 'startswith'))),
  endswith: (values, text, [suffix]) =>
    oneOrMany(suffix).some((each) => values.plain(text).endsWith(stringOf(values, each, 'endswith'))),
  find: (values, text, [part]) =>
    pointsBefore(values, text, values.plain(text).indexOf(stringOf(values, part, 'find'))),
  rfind: (values, text, [part]) =>
    pointsBefore(values, text, values.plain(text).lastIndexOf(stringOf(values, part, 'rfind'))),
  count(values, text, [part]) {
    const sought = stringOf(values, part, 'count')
    if (sought === '') return text.length + 1
    const plain = values.plain(text)
    let found = 0
    for (let at = plain.indexOf(sought); at >= 0; at = plain.indexOf(sought, at + sought.length)) found++
    return found
  },
  split: (values, text, args, named) =>
    split(values, text, args[0] ?? named.get('sep'), args[1] ?? named.get('maxsplit'), false),
  rsplit: (values, text, args, named) =>
    split(values, text, args[0] ?? named.get('sep'), args[1] ?? named.get('maxsplit'), true),
  splitlines: (values, text) => splitLines(values, text),
  partition: (values, text, [separator]) => partition(values, text, separator, false),
  rpartition: (values, text, [separator]) => partition(values, text, separator, true),
  replace: (values, text, args, named) =>
    replaced(values, text, args[0] ?? named.get('old'), args[1] ?? named.get('new'), args[2] ?? named.get('count')),
  join: (values, text, [items]) => joined(values, values.items(items), text),
  format: (values, text, args, named) => formatted(values, text, args, named),
  isdigit: (values, text) => /^\p{Nd}+$/u.test(values.plain(text)),
  isalpha: (values, text) => /^\p{L}+$/u.test(values.plain(text)),
  isalnum: (values, text) => /^[\p{L}\p{N}]+$/u.test(values.plain(text)),
  isspace: (values, text) => /^\p{White_Space}+$/u.test(values.plain(text)),
  islower: (values, text) => cased(values.plain(text), (c) => c.toLowerCase()),
  isupper: (values, text) => cased(values.plain(text), (c) => c.toUpperCase()),
} satisfies Readonly<Record<string, Method>>

/**
 * Applies `change` to the whole plain text, since a letter's neighbours matter as they do in
 * Python, and marks the result as `text` was.
 */
export function changed(values: Values, text: string, change: (plain: string) => string): string {
  values.budget.spend(2 * text.length)
  return values.origin.remark(text, change(values.plain(text)))
}

function titleCase(plain: string): string {
  return plain.replace(/\p{L}+/gu, capitalized)
}

function capitalized(word: string): string {
  const first = word === '' ? '' : String.fromCodePoint(word.codePointAt(0) ?? 0)
  return first.toUpperCase() + word.slice(first.length).toLowerCase()
}

function cased(plain: string, change: (character: string) => string): boolean {
  return change(plain) === plain && plain.toLowerCase() !== plain.toUpperCase()
}

/** Strips the given `characters`, or white space if they are undefined or none. */
export function stripped(values: Values, text: string, characters: Value, left: boolean, right: boolean): string {
  const plain = values.plain(text)
  values.budget.spend(text.length)
  const set =
    characters === undefined || characters === null ? undefined : new Set(stringOf(values, characters, 'strip'))
  const goes = set ? (character: string) => set.has(character) : (character: string) => isSpace(character)
  let from = 0
  let to = plain.length
  if (left) while (from < to && goes(plain.charAt(from))) from++
  if (right) while (to > from && goes(plain.charAt(to - 1))) to--
  return text.slice(from, to)
}

/** Returns whether Python's `str.strip` removes a character. */
function isSpace(character: string): boolean {
  return (character >= '\x1c' && character <= '\x1f') || /^\p{White_Space}$/u.test(character)
}

/**
 * Returns where `sought`, which must not be empty, occurs from left to right, without overlaps.
 * Each place is counted before it is kept.
 */
function places(values: Values, plain: string, sought: string): number[] {
  const found: number[] = []
  for (let at = plain.indexOf(sought); at >= 0; at = plain.indexOf(sought, at + sought.length)) {
    values.budget.spendElements(1)
    found.push(at)
  }
  return found
}

function split(values: Values, text: string, separator: Value, most: Value, fromRight: boolean): Value[] {
  const limit = most === undefined ? -1 : values.number(most)
  if (limit === undefined) throw new Error('maxsplit must be a number')
  values.budget.spend(text.length)
  const parts = separator === undefined || separator === null ? words(values, text) : cut(values, text, separator)
  if (limit < 0 || parts.length <= limit + 1) return parts.map(([from, to]) => text.slice(from, to))
  const alone = fromRight ? parts.slice(parts.length - limit) : parts.slice(0, limit)
  const rest = fromRight ? parts.slice(0, parts.length - limit) : parts.slice(limit)
  const whole = text.slice(rest[0]?.[0], rest.at(-1)?.[1])
  const pieces = alone.map(([from, to]) => text.slice(from, to))
  return fromRight ? [whole, ...pieces] : [...pieces, whole]
}

type Part = readonly [from: number, to: number]

/** Returns the parts between runs of white space. */
function words(values: Values, text: string): Part[] {
  const parts: Part[] = []
  for (const { 0: word, index } of values.plain(text).matchAll(/\P{White_Space}+/gu)) {
    values.budget.spendEntries(1)
    parts.push([index, index + word.length])
  }
  return parts
}

/** Returns the parts between separators, including empty ones. */
function cut(values: Values, text: string, separator: Value): Part[] {
  const sought = stringOf(values, separator, 'split')
  if (sought === '') throw new Error('split() by an empty string')
  const ends = places(values, values.plain(text), sought)
  values.budget.spendEntries(ends.length + 1)
  let from = 0
  return [...ends, text.length].map((end): Part => {
    const part: Part = [from, end]
    from = end + sought.length
    return part
  })
}

function splitLines(values: Values, text: string): Value[] {
  const plain = values.plain(text)
  const lines: string[] = []
  let from = 0
  values.budget.spend(text.length)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: Python's line ends include separators.
  for (const { 0: end, index } of plain.matchAll(/\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/g)) {
    values.budget.spendEntries(1)
    lines.push(text.slice(from, index))
    from = index + end.length
  }
  if (from < text.length) lines.push(text.slice(from))
  return lines
}

function partition(values: Values, text: string, separator: Value, last: boolean): Value[] {
  const sought = stringOf(values, separator, 'partition')
  if (sought === '') throw new Error('partition() by an empty string')
  const plain = values.plain(text)
  const at = last ? plain.lastIndexOf(sought) : plain.indexOf(sought)
  if (at < 0) return last ? ['', '', text] : [text, '', '']
  return [text.slice(0, at), text.slice(at, at + sought.length), text.slice(at + sought.length)]
}

/** Implements `str.replace`; `most` limits the replacements. */
export function replaced(values: Values, text: string, from: Value, to: Value, most: Value): string {
  const sought = stringOf(values, from, 'replace')
  if (typeof to !== 'string') throw new Error(`replace() by ${typeName(to)}`)
  const limit = most === undefined || most === null ? -1 : values.number(most)
  if (limit === undefined) throw new Error('the count of replace() must be a number')
  const plain = values.plain(text)
  if (sought === '') values.budget.spendElements(text.length + 1)
  const all = sought === '' ? Array.from({ length: text.length + 1 }, (_, at) => at) : places(values, plain, sought)
  const kept = limit < 0 ? all : all.slice(0, limit)
  values.budget.spend(text.length + kept.length * (to.length + 1))
  let result = ''
  let done = 0
  for (const at of kept) {
    result += text.slice(done, at) + to
    done = at + sought.length
  }
  return result + text.slice(done)
}

/** Implements `str.format` with names and numbers in braces, without format specs. */
function formatted(values: Values, text: string, args: readonly Value[], named: ReadonlyMap<string, Value>): string {
  const plain = values.plain(text)
  let result = ''
  let done = 0
  let next = 0
  for (const { 0: found, 1: name, index } of plain.matchAll(/\{\{|\}\}|\{(\w*)\}/g)) {
    result += text.slice(done, index)
    done = index + found.length
    if (name === undefined) result += text.slice(index, index + 1)
    else {
      const value = name === '' ? args[next++] : /^\d+$/.test(name) ? args[Number(name)] : named.get(name)
      if (value === undefined) throw new Error(`format() has nothing for {${name}}`)
      result += values.text(value)
    }
    values.budget.spend(result.length)
  }
  return result + text.slice(done)
}

/** Implements `str.join`. */
export function joined(values: Values, items: readonly Value[], separator: string): string {
  values.budget.spend(items.length * separator.length)
  const texts = items.map((item) => {
    const text = values.text(item)
    values.budget.spend(text.length)
    return text
  })
  return texts.join(separator)
}

/** Indents the lines of a text; `width` is a number of spaces or a text. */
export function indented(values: Values, text: string, width: Value, first: boolean, blank: boolean): string {
  const pad = typeof width === 'string' ? width : ' '.repeat(checked(values, values.number(width ?? 4)))
  const plain = values.plain(text)
  const starts = [0]
  for (const at of places(values, plain, '\n')) starts.push(at + 1)
  values.budget.spend(text.length + starts.length * pad.length)
  let result = ''
  for (const [line, start] of starts.entries()) {
    const whole = text.slice(start, starts[line + 1])
    const empty = start === plain.length || plain[start] === '\n'
    result += ((line > 0 || first) && (blank || !empty) ? pad : '') + whole
  }
  return result
}

/** Repeats a text as Python does; a negative number counts as 0. */
export function repeated(values: Values, text: string, times: number): string {
  const count = Math.max(0, Math.trunc(times))
  values.budget.spend(text.length * count)
  return text.repeat(count)
}

/** Checks a width that the template asks for, and counts it. */
function checked(values: Values, width: number | undefined): number {
  if (width === undefined || !(width >= 0)) throw new Error('a width must be a number from 0')
  values.budget.spend(width)
  return Math.trunc(width)
}

/** Parses a text as Python's `int` does; returns undefined if it is not a number. */
export function integerOf(plain: string): number | undefined {
  const text = plain.trim()
  if (/^[+-]?\d+$/.test(text)) return Number(text)
  const real = realOf(text)
  return real === undefined ? undefined : Math.trunc(real.value)
}

/** Parses a text as Python's `float` does; returns undefined if it is not a number. */
export function realOf(plain: string): Real | undefined {
  const text = plain.trim()
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? new Real(Number(text)) : undefined
}

/** Returns the number of characters as Python counts them: code points. */
export function length(values: Values, text: string): number {
  values.budget.spend(text.length)
  if (!/[\ud800-\udbff]/.test(text)) return text.length
  values.budget.spend(text.length)
  let points = 0
  for (let at = 0; at < text.length; points++) at += (text.codePointAt(at) ?? 0) > 0xffff ? 2 : 1
  return points
}

function pointsBefore(values: Values, text: string, at: number): number {
  return at <= 0 ? at : length(values, text.slice(0, at))
}

function oneOrMany(value: Value): readonly Value[] {
  return Array.isArray(value) ? value : [value]
}

/** Returns a string argument as plain text. Throws an Error for another value. */
export function stringOf(values: Values, value: Value, where: string): string {
  if (typeof value !== 'string') throw new Error(`${where}() takes a string, not ${typeName(value)}`)
  return values.plain(value)
}

/** Returns the entries of a dict as pairs. */
export function dictItems(values: Values, dict: Dict): Value[] {
  values.budget.spendEntries(dict.size)
  return [...dict].map(([key, item]): Value => [key, item])
}

/** Returns a method of a dict by name, or undefined if dicts do not have it. */
export function dictMethod(values: Values, dict: Dict, name: string): ((args: readonly Value[]) => Value) | undefined {
  const listed = <T extends Value>(items: T[]): T[] => {
    values.budget.spendElements(items.length)
    return items
  }
  switch (name) {
    case 'get':
      return ([key, otherwise = null]) => {
        if (typeof key !== 'string' && typeof key !== 'number') return otherwise
        return values.entry(dict, key) ?? otherwise
      }
    case 'items':
      return () => dictItems(values, dict)
    case 'keys':
      return () => listed([...dict.keys()])
    case 'values':
      return () => listed([...dict.values()])
    case 'copy':
      return () => {
        values.budget.spendEntries(dict.size)
        return new Map(dict)
      }
    default:
      return undefined
  }
}
