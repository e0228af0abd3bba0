/** Checks JSON from files against a schema, so that its fields have types. */

/** A text, a number, a list of one kind of item, or an object with at least these fields. */
export type Schema = 'string' | 'number' | readonly [Schema] | { readonly [field: string]: Schema }

/** The type of the values that fit a schema. */
export type Fitting<S> = S extends 'string'
  ? string
  : S extends 'number'
    ? number
    : S extends readonly [infer Item]
      ? readonly Fitting<Item>[]
      : { readonly [Field in keyof S]: Fitting<S[Field]> }

/** Returns true if `value` has everything that `schema` asks for. */
export function fits<const S extends Schema>(value: unknown, schema: S): value is Fitting<S> {
  return matches(value, schema)
}

/** Returns the values that fit `schema`, in order. */
export function fittingOf<const S extends Schema>(values: readonly unknown[], schema: S): Fitting<S>[] {
  return values.filter((value): value is Fitting<S> => matches(value, schema))
}

function matches(value: unknown, schema: Schema): boolean {
  if (schema === 'string') return typeof value === 'string'
  if (schema === 'number') return typeof value === 'number'
  if (isList(schema)) return Array.isArray(value) && value.every((item) => matches(item, schema[0]))
  if (typeof value !== 'object' || value === null) return false
  const fields = new Map(Object.entries(value))
  return Object.entries(schema).every(([name, field]) => matches(fields.get(name), field))
}

function isList(schema: Schema): schema is readonly [Schema] {
  return Array.isArray(schema)
}
