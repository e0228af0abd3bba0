/**
 * Says with keywords that the grammar engine reads what others say: the same, or less where the
 * engine's numbers end, and never more.
 */
import { ForetokenError } from '../base/errors.ts'
import { isSchema, type Schema } from './schema-chains.ts'
import type { SchemaDocument } from './schema-document.ts'

/** Formats of texts that the engine keeps to, or `exactSchema` in its place. */
const keptFormats = new Set<unknown>(
  'date-time time date duration email hostname ipv4 ipv6 uuid uri byte unknown'.split(' '),
)
/** Formats that say what a text is for, and nothing about its characters. */
const freeFormats = new Set<unknown>('password binary path file-path directory-path'.split(' '))

/**
 * Rewrites a schema's own keywords; `document` is where its references lead. Returns whether any
 * changed. Throws `unsupported` for numbers that the engine can't tell apart.
 */
export function makePlain(schema: Schema, document: SchemaDocument): boolean {
  const changes = [dropIdle, spellNames, dropFormat, fitBounds, chooseAny]
  // All of them, in this order.
  return changes.map((change) => change(schema, document)).includes(true)
}

/** Removes keywords whose value asks for nothing. */
function dropIdle(schema: Schema, { pointsInto }: SchemaDocument): boolean {
  const idle = Object.keys(schema).filter((keyword) => asksNothing(keyword, schema[keyword]))
  for (const keyword of idle) delete schema[keyword]
  if (!isAll(schema.not) || pointsInto.has('not')) return idle.length > 0
  // Nothing fits.
  delete schema.not
  schema.allOf = [...(Array.isArray(schema.allOf) ? schema.allOf : []), false]
  return true
}

function asksNothing(keyword: string, value: unknown): boolean {
  switch (keyword) {
    case 'uniqueItems':
    case 'not':
      return value === false
    case 'unevaluatedProperties':
    case 'unevaluatedItems':
      return isAll(value)
    case 'dependentRequired':
    case 'dependentSchemas':
    case 'dependencies':
      return isSchema(value) && Object.keys(value).length === 0
    case 'propertyNames':
      return isAll(value) || (isSchema(value) && onlyHas(value, ['type']) && value.type === 'string')
    default:
      return false
  }
}

/** Writes names that are listed, or that match one pattern, as properties. */
function spellNames(schema: Schema, { pointsInto }: SchemaDocument): boolean {
  const { propertyNames: names, properties = {}, patternProperties, additionalProperties: rest = {} } = schema
  if (pointsInto.has('propertyNames')) return false
  if (!isSchema(names) || !isSchema(properties) || patternProperties !== undefined || rest === false) return false
  const listed = onlyHas(names, ['type', 'enum']) && names.enum
  if (Array.isArray(listed) && listed.length > 0 && listed.every((name) => typeof name === 'string')) {
    const open = listed.filter((name) => !Object.hasOwn(properties, name)).map((name) => [name, rest] as const)
    const known = Object.entries(properties).map(([name, value]) => [name, listed.includes(name) && value] as const)
    schema.properties = Object.fromEntries([...known, ...open])
  } else if (
    typeof names.pattern === 'string' &&
    onlyHas(names, ['type', 'pattern']) &&
    Object.keys(properties).length === 0
  )
    schema.patternProperties = { [names.pattern]: rest }
  else return false
  schema.additionalProperties = false
  delete schema.propertyNames
  return true
}

/** Removes a format that the engine does not know where a pattern says what it means, or nothing has to. */
function dropFormat(schema: Schema): boolean {
  const { format, pattern, type } = schema
  if (format === undefined || keptFormats.has(format)) return false
  if (typeof pattern !== 'string' && !freeFormats.has(format)) return false
  if (type !== undefined && type !== 'string') return false
  delete schema.format
  return true
}

/** From here on integers are not exact in a double, and the engine's ranges of numbers end. */
const largest = { integer: Number.MAX_SAFE_INTEGER, number: 999_999_999_999_999 }

/**
 * Fits the bounds of numbers to what the engine gets right: none beyond `largest`, and no whole bound
 * that is excluded where both bounds have the same whole part, which it would include.
 */
function fitBounds(schema: Schema): boolean {
  const most = largest[schema.type === 'integer' ? 'integer' : 'number']
  const before = bounds.map((keyword) => schema[keyword])
  for (const keyword of bounds) {
    const value = schema[keyword]
    if (typeof value !== 'number' || Math.abs(value) <= most) continue
    const upper = /max/i.test(keyword)
    if (upper !== value > 0)
      throw new ForetokenError(
        'unsupported',
        `${keyword} is ${value}; numbers beyond ${most} are not supported: leave it out`,
      )
    delete schema[keyword]
    const plain = upper ? 'maximum' : 'minimum'
    const other = schema[plain]
    if (typeof other !== 'number' || Math.abs(other) > most) schema[plain] = upper ? most : -most
  }
  if (schema.type !== 'integer') excludeWhole(schema)
  return bounds.some((keyword, index) => schema[keyword] !== before[index])
}

const bounds = ['minimum', 'exclusiveMinimum', 'maximum', 'exclusiveMaximum'] as const

function excludeWhole(schema: Schema): void {
  const value = (keyword: (typeof bounds)[number], none: number) => {
    const bound = schema[keyword]
    return typeof bound === 'number' ? bound : none
  }
  const [below, above] = [value('exclusiveMinimum', -Infinity), value('exclusiveMaximum', Infinity)]
  const [low, high] = [Math.max(below, value('minimum', -Infinity)), Math.min(above, value('maximum', Infinity))]
  if (low >= high || Math.trunc(low) !== Math.trunc(high)) return
  if (below === low && Number.isInteger(below)) {
    schema.minimum = below + step(below)
    delete schema.exclusiveMinimum
  }
  if (above === high && Number.isInteger(above)) {
    schema.maximum = above - step(above)
    delete schema.exclusiveMaximum
  }
}

/** A small step that a double of this size still holds. */
function step(value: number): number {
  return Math.max(1e-12, Math.abs(value) / 1e12)
}

/**
 * Turns `oneOf` into `anyOf` where the alternatives exclude each other: by their types, or as objects
 * by a required property whose values differ. The engine does not look behind references.
 */
function chooseAny(schema: Schema, document: SchemaDocument): boolean {
  const { oneOf } = schema
  if (!Array.isArray(oneOf) || oneOf.length === 0) return false
  const followed = oneOf.map((one) => target(one, document))
  if (!followed.every(isSchema) || followed.every((one, index) => one === oneOf[index] && one.type !== undefined))
    return false
  const types = followed.map(({ type }) => [type].flat())
  const objects = schema.type === 'object' || types.every((each) => each.length === 1 && each[0] === 'object')
  const names = objects ? followed.map(({ required }) => (Array.isArray(required) ? required : []))[0] : []
  const tells = (name: unknown) =>
    apart(followed.map(({ required, properties }) => valuesOf(name, required, properties, document)))
  if (!apart(types.map((each) => each.map((type) => (type === 'integer' ? 'number' : type)))) && !names?.some(tells))
    return false
  delete schema.oneOf
  const others = Array.isArray(schema.allOf) ? schema.allOf : []
  const free = schema.anyOf === undefined
  if (free) schema.anyOf = oneOf
  else schema.allOf = [...others, { anyOf: oneOf }]
  document.move(schema, 'oneOf', free ? ['anyOf'] : ['allOf', String(others.length), 'anyOf'])
  return true
}

/** Returns the schema that a schema of nothing but a reference stands for. */
function target(schema: unknown, document: SchemaDocument): unknown {
  let at = schema
  for (let hops = 0; hops < 16 && isSchema(at) && typeof at.$ref === 'string' && onlyHas(at, ['$ref']); hops++)
    at = document.resolved(at.$ref)
  return at
}

/** Returns the values that a required property may have; none if they are not listed. */
function valuesOf(name: unknown, required: unknown, properties: unknown, document: SchemaDocument): unknown[] {
  if (typeof name !== 'string' || !Array.isArray(required) || !required.includes(name)) return []
  const property = isSchema(properties) && Object.hasOwn(properties, name) ? properties[name] : undefined
  const schema = target(property, document)
  if (!isSchema(schema)) return []
  if (Object.hasOwn(schema, 'const')) return [JSON.stringify(schema.const)]
  return Array.isArray(schema.enum) ? schema.enum.map((value) => JSON.stringify(value)) : []
}

/** Returns whether no two lists share a value, and none is empty or has an unknown one. */
function apart(lists: readonly (readonly unknown[])[]): boolean {
  const each = lists.map((list) => [...new Set(list)])
  return (
    each.every((list) => list.length > 0 && !list.includes(undefined)) &&
    new Set(each.flat()).size === each.flat().length
  )
}

const notes = 'title description $comment examples default deprecated'.split(' ')

function onlyHas(schema: Schema, keywords: readonly string[]): boolean {
  return Object.keys(schema).every((keyword) => keywords.includes(keyword) || notes.includes(keyword))
}

/** Whether everything fits a schema. */
function isAll(value: unknown): boolean {
  return value === true || (isSchema(value) && onlyHas(value, []))
}
