/** Makes a JSON schema that examples of an answer fit. */
import { isRecord } from './failure.ts'
import { PageError } from './page-error.ts'

type Schema = Readonly<Record<string, unknown>>

/** Deepest level whose values are described; what is deeper may be anything. */
const deepest = 32

/**
 * Returns a schema of the examples in a text: one JSON value, a list of values, or one value in each
 * line. Fields that are in all examples are required. Throws a PageError if a line is not JSON.
 */
export function schemaOfExamples(text: string): Schema {
  const examples = examplesIn(text)
  if (examples.length === 0) throw new PageError('page', 'there are no examples; paste JSON values, one in each line')
  return schemaOf(examples, 0)
}

function examplesIn(text: string): readonly unknown[] {
  const whole = parsed(text)
  if (whole) return Array.isArray(whole.value) ? whole.value : [whole.value]
  const lines = text.split('\n').flatMap((line, at) => (line.trim() === '' ? [] : [{ line, at }]))
  return lines.map(({ line, at }) => {
    const example = parsed(line)
    if (example) return example.value
    throw new PageError('page', `line ${at + 1} is not JSON; paste JSON values, one in each line`)
  })
}

function parsed(text: string): { readonly value: unknown } | undefined {
  try {
    return { value: JSON.parse(text) }
  } catch {
    return undefined
  }
}

function schemaOf(values: readonly unknown[], level: number): Schema {
  const kinds = new Map<string, unknown[]>()
  for (const value of values) {
    const kind = kindOf(value)
    const known = kinds.get(kind)
    if (known) known.push(value)
    else kinds.set(kind, [value])
  }
  // Whole numbers among others are numbers.
  const whole = kinds.get('integer')
  if (whole && kinds.has('number')) kinds.delete('integer')
  const schemas = [...kinds].map(([kind, ones]) => schemaOfKind(kind, ones, level))
  const [only] = schemas
  return only && schemas.length === 1 ? only : { anyOf: schemas }
}

function kindOf(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'array'
  return typeof value === 'number' && Number.isInteger(value) ? 'integer' : typeof value
}

function schemaOfKind(kind: string, values: readonly unknown[], level: number): Schema {
  if (level >= deepest) return { type: kind }
  if (kind === 'array') {
    const items = values.flatMap((value) => (Array.isArray(value) ? value : []))
    return items.length === 0 ? { type: kind } : { type: kind, items: schemaOf(items, level + 1) }
  }
  if (kind !== 'object') return { type: kind }
  const records = values.filter(isRecord)
  const names = [...new Set(records.flatMap((record) => Object.keys(record)))]
  const having = (name: string) => records.filter((record) => Object.hasOwn(record, name))
  return {
    type: kind,
    properties: Object.fromEntries(
      names.map((name) => [
        name,
        schemaOf(
          having(name).map((record) => record[name]),
          level + 1,
        ),
      ]),
    ),
    required: names.filter((name) => having(name).length === records.length),
    additionalProperties: false,
  }
}
