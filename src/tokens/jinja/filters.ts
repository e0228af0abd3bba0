/** Implements Jinja's filters, `value | filter(...)`, and tests, `value is test`. */

import {
  changed,
  dictItems,
  indented,
  integerOf,
  joined,
  length,
  methodOf,
  realOf,
  replaced,
  type StringMethod,
  stringOf,
  stripped,
} from './strings.ts'
import { passesTest } from './tests.ts'
import { Namespace, Real, typeName, type Value } from './value.ts'
import type { Values } from './values.ts'

/** Arguments by name. */
export type Named = ReadonlyMap<string, Value>
type Filter = (values: Values, value: Value, args: readonly Value[], named: Named) => Value

/** Applies a filter by name. Throws an Error if it is not known. */
export function applyFilter(values: Values, name: string, value: Value, args: readonly Value[], named: Named): Value {
  const filter = Object.hasOwn(filters, name) ? filters[name] : undefined
  if (!filter) throw new Error(`the filter ${name} is not known`)
  if (typeof value === 'string') values.budget.spend(value.length)
  return filter(values, value, args, named)
}

const identity: Filter = (_, value) => value
const asText =
  (change: (plain: string) => string): Filter =>
  (values, value) =>
    changed(values, values.text(value), change)
const byMethod =
  (name: StringMethod): Filter =>
  (values, value, args, named) =>
    methodOf(name)(values, values.text(value), args, named)
const defaulted: Filter = (values, value, [otherwise = '', alsoFalse], named) =>
  value === undefined || (values.truth(alsoFalse ?? named.get('boolean')) && !values.truth(value))
    ? (named.get('default_value') ?? otherwise)
    : value
const count: Filter = (values, value) => lengthOf(values, value)
/** Returns the items that Jinja selects or maps from: none for a false value. */
const itemsOf = (values: Values, value: Value) => (values.truth(value) ? values.items(value) : [])
const chosen =
  (by: 'value' | 'attribute', keeps: boolean): Filter =>
  (values, value, args) => {
    const [attribute, ...test] = by === 'attribute' ? args : [undefined, ...args]
    const [name, ...operands] = test
    return itemsOf(values, value).filter((item) => {
      const subject = by === 'attribute' ? attributeOf(values, item, attribute) : item
      const passes =
        name === undefined
          ? values.truth(subject)
          : passesTest(values, stringOf(values, name, 'select'), subject, operands)
      return passes === keeps
    })
  }
const extreme =
  (sign: number): Filter =>
  (values, value, args, named) => {
    const items = values.items(value)
    const key = (item: Value) => attributeOf(values, item, named.get('attribute'))
    const caseSensitive = values.truth(args[0] ?? named.get('case_sensitive'))
    let best = items[0]
    for (const item of items) if (sign * values.compare(key(item), key(best), caseSensitive) > 0) best = item
    return best
  }

const filters: Readonly<Record<string, Filter>> = {
  safe: identity,
  upper: byMethod('upper'),
  lower: byMethod('lower'),
  title: byMethod('title'),
  capitalize: byMethod('capitalize'),
  string: (values, value) => values.text(value),
  trim: (values, value, [characters], named) =>
    stripped(values, values.text(value), characters ?? named.get('chars'), true, true),
  replace: (values, value, args, named) =>
    replaced(
      values,
      values.text(value),
      args[0] ?? named.get('old'),
      args[1] ?? named.get('new'),
      args[2] ?? named.get('count'),
    ),
  indent: (values, value, args, named) =>
    indented(
      values,
      values.text(value),
      args[0] ?? named.get('width') ?? 4,
      values.truth(args[1] ?? named.get('first')),
      values.truth(args[2] ?? named.get('blank')),
    ),
  striptags: asText((plain) => plain.replace(/<[^<>]*>/g, '')),
  tojson: (values, value, args, named) => json(values, value, args, named),
  length: count,
  count,
  default: defaulted,
  d: defaulted,
  list: (values, value) => [...values.items(value)],
  first: (values, value) => values.items(value)[0],
  last: (values, value) => values.items(value).at(-1),
  reverse: (values, value) =>
    typeof value === 'string' ? values.items(value).reverse().join('') : [...values.items(value)].reverse(),
  join(values, value, args, named) {
    const attribute = args[1] ?? named.get('attribute')
    const items = values.items(value).map((item) => attributeOf(values, item, attribute))
    return joined(values, items, values.text(args[0] ?? named.get('d') ?? ''))
  },
  sort(values, value, args, named) {
    const attribute = args[2] ?? named.get('attribute')
    const caseSensitive = values.truth(args[1] ?? named.get('case_sensitive'))
    const keyed = values.items(value).map((item) => ({ item, key: attributeOf(values, item, attribute) }))
    const sign = values.truth(args[0] ?? named.get('reverse')) ? -1 : 1
    return keyed.sort((a, b) => sign * values.compare(a.key, b.key, caseSensitive)).map(({ item }) => item)
  },
  unique(values, value, args, named) {
    const attribute = args[1] ?? named.get('attribute')
    const caseSensitive = values.truth(args[0] ?? named.get('case_sensitive'))
    const seen = new Set<string>()
    return values.items(value).filter((item) => {
      const key = attributeOf(values, item, attribute)
      const shown = values.plain(values.shown(key))
      const same = caseSensitive ? shown : shown.toLowerCase()
      if (seen.has(same)) return false
      values.budget.spendEntries(1)
      seen.add(same)
      return true
    })
  },
  map(values, value, args, named) {
    const attribute = named.get('attribute')
    if (attribute !== undefined)
      return itemsOf(values, value).map((item) => attributeOf(values, item, attribute) ?? named.get('default'))
    const [name, ...rest] = args
    const filter = stringOf(values, name, 'map')
    return itemsOf(values, value).map((item) => applyFilter(values, filter, item, rest, named))
  },
  select: chosen('value', true),
  reject: chosen('value', false),
  selectattr: chosen('attribute', true),
  rejectattr: chosen('attribute', false),
  min: extreme(-1),
  max: extreme(1),
  sum(values, value, args, named) {
    const attribute = args[0] ?? named.get('attribute')
    const numbers = values.items(value).map((item) => values.number(attributeOf(values, item, attribute)))
    return numbers.reduce<number>((sum, number) => sum + (number ?? Number.NaN), 0)
  },
  items: (values, value) => {
    if (value === undefined) return []
    if (!(value instanceof Map)) throw new Error(`items of ${typeName(value)}`)
    return dictItems(values, value)
  },
  dictsort(values, value, args, named) {
    if (!(value instanceof Map)) throw new Error(`dictsort of ${typeName(value)}`)
    const by = stringOf(values, args[1] ?? named.get('by') ?? 'key', 'dictsort') === 'value' ? 1 : 0
    const caseSensitive = values.truth(args[0] ?? named.get('case_sensitive'))
    const sign = values.truth(args[2] ?? named.get('reverse')) ? -1 : 1
    values.budget.spendEntries(value.size)
    return [...value]
      .sort((a, b) => sign * values.compare(a[by], b[by], caseSensitive))
      .map(([key, item]): Value => [key, item])
  },
  abs: (values, value) => numeric(values, value, Math.abs),
  round(values, value, args, named) {
    const precision = values.number(args[0] ?? named.get('precision') ?? 0) ?? 0
    const number = values.number(value)
    if (number === undefined) throw new Error(`round of ${typeName(value)}`)
    const scale = 10 ** Math.min(20, Math.max(-20, Math.trunc(precision)))
    return new Real(Math.round(number * scale) / scale)
  },
  int(values, value, args, named) {
    const otherwise = args[0] ?? named.get('default') ?? 0
    if (typeof value === 'string') return integerOf(values.plain(value)) ?? otherwise
    const number = values.number(value)
    return number === undefined ? otherwise : Math.trunc(number)
  },
  float(values, value, args, named) {
    const otherwise = args[0] ?? named.get('default') ?? new Real(0)
    if (typeof value === 'string') return realOf(values.plain(value)) ?? otherwise
    const number = values.number(value)
    return number === undefined ? otherwise : new Real(number)
  },
  bool: (values, value) => values.truth(value),
}

function json(values: Values, value: Value, args: readonly Value[], named: Named): string {
  const wanted = named.get('indent') ?? args[0]
  const width = typeof wanted === 'string' ? wanted : values.number(wanted)
  if (typeof width === 'number') values.budget.spend(width)
  const indent = typeof width === 'number' ? ' '.repeat(Math.max(0, Math.trunc(width))) : width
  const separators = named.get('separators')
  const pair = Array.isArray(separators) && separators.length === 2 ? separators : undefined
  return values.json(value, {
    ...(indent !== undefined && { indent }),
    ...(pair && { separators: [values.text(pair[0]), values.text(pair[1])] as const }),
    sortKeys: values.truth(named.get('sort_keys')),
    ensureAscii: values.truth(named.get('ensure_ascii')),
  })
}

function numeric(values: Values, value: Value, change: (number: number) => number): Value {
  const number = values.number(value)
  if (number === undefined) throw new Error(`a number is needed, not ${typeName(value)}`)
  return value instanceof Real ? new Real(change(number)) : change(number)
}

/** Returns the length of a value. Throws an Error if it has none. */
export function lengthOf(values: Values, value: Value): number {
  if (typeof value === 'string') return length(values, value)
  if (Array.isArray(value)) return value.length
  if (value instanceof Map) return value.size
  if (value === undefined) return 0
  throw new Error(`${typeName(value)} has no length`)
}

/** Returns what the dotted path `attribute` names in an item, or the item itself without a path. */
function attributeOf(values: Values, item: Value, attribute: Value): Value {
  if (attribute === undefined || attribute === null) return item
  const path = typeof attribute === 'number' ? [String(attribute)] : stringOf(values, attribute, 'attribute').split('.')
  values.budget.spend(path.length)
  let value = item
  for (const part of path) {
    if (Array.isArray(value)) value = value[Number(part)]
    else if (value instanceof Map) value = values.entry(value, part)
    else if (value instanceof Namespace) value = value.fields.get(part)
    else return undefined
  }
  return value
}
