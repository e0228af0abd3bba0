/** The types of values that a template computes with. Strings are marked (see origin.ts). */

/** A value of a template; undefined stands for an undefined variable. */
export type Value = string | number | boolean | null | undefined | Real | Value[] | Dict | Namespace | Loop | Callable

/** A number that would be a float in Python. */
export class Real {
  readonly value: number
  constructor(value: number) {
    this.value = value
  }
}

/** A dict. Its keys keep their marks. */
export type Dict = Map<Key, Value>
/** A key of a dict. */
export type Key = string | number

/** An object of `namespace()`, whose fields can be assigned. */
export class Namespace {
  readonly fields: Map<string, Value>
  constructor(fields: Map<string, Value>) {
    this.fields = fields
  }
}

/** The variable `loop` inside a `for`. */
export class Loop {
  readonly items: readonly Value[]
  readonly at: number
  readonly depth: number
  constructor(items: readonly Value[], at: number, depth: number) {
    this.items = items
    this.at = at
    this.depth = depth
  }
}

/** A macro, method or global function. */
export class Callable {
  readonly call: (args: readonly Value[], named: ReadonlyMap<string, Value>) => Value
  constructor(call: Callable['call']) {
    this.call = call
  }
}

/** Returns a value's type for error messages. */
export function typeName(value: Value): string {
  if (value === undefined) return 'an undefined value'
  if (value === null) return 'none'
  if (Array.isArray(value)) return 'a list'
  if (value instanceof Map) return 'a dict'
  if (value instanceof Real) return 'a float'
  if (value instanceof Callable) return 'a function'
  if (value instanceof Namespace) return 'a namespace'
  if (value instanceof Loop) return 'a loop'
  return { string: 'a string', number: 'an integer', boolean: 'a boolean' }[
    typeof value as 'string' | 'number' | 'boolean'
  ]
}
