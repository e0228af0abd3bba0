/** Bounds the chains of references in JSON schemas. */
import { type Chain, chainOf, type Links, tooDeep } from './chains.ts'

export type Schema = Record<string, unknown>

/** Keywords whose members are schemas by name, and those whose value is a schema or a list of them. */
const named = ['properties', 'patternProperties']
const nested = ['items', 'additionalItems', 'additionalProperties', 'prefixItems', 'anyOf', 'allOf', 'oneOf']

/** Throws `bad_argument` if the references of a schema lead too deep. The engine reports text that is no JSON. */
export function checkSchemaChains(kind: string, text: string): void {
  const { levels, where } = schemaChain(text)
  if (where !== undefined) throw tooDeep(kind, where, levels)
}

/** Returns how deep the references of a schema lead, and the path of a schema from which they lead too deep. */
export function schemaChain(text: string): { readonly levels: number; readonly where: string | undefined } {
  const document = parsed(text)
  if (!isSchema(document)) return { levels: 0, where: undefined }
  const paths = new Map<Schema, string>([[document, '']])
  const { levels, at }: Chain<Schema> = chainOf([document], (schema) => linksOf(schema, document, paths))
  return { levels, where: at && (paths.get(at) || 'the root of the schema') }
}

/** A reference counts once: in what leads to it, or where it is alone. */
function linksOf(schema: Schema, document: Schema, paths: Map<Schema, string>): Links<Schema> {
  const to: [Schema, number][] = []
  const path = paths.get(schema) ?? ''
  const add = (value: unknown, at: string) => {
    if (!isSchema(value)) return
    if (!paths.has(value)) paths.set(value, `${path}/${at}`)
    to.push([value, Object.hasOwn(value, '$ref') ? 0 : 1])
  }
  for (const keyword of named) {
    const members = own(schema, keyword)
    if (isSchema(members)) for (const [name, member] of Object.entries(members)) add(member, `${keyword}/${name}`)
  }
  for (const keyword of nested) {
    const value = own(schema, keyword)
    if (Array.isArray(value)) for (const [index, item] of value.entries()) add(item, `${keyword}/${index}`)
    else add(value, keyword)
  }
  const pointer = own(schema, '$ref')
  const target = typeof pointer === 'string' ? resolved(document, pointer) : undefined
  if (typeof pointer === 'string' && target) {
    if (!paths.has(target)) paths.set(target, pointer.slice(1))
    to.push([target, 1])
  }
  return { least: 0, to }
}

/** Follows a plain path such as `#/$defs/name`; the engine refuses every other reference. */
export function resolved(document: Schema, pointer: string): Schema | undefined {
  if (pointer === '#' || pointer === '#/') return document
  if (!pointer.startsWith('#/')) return undefined
  let value: unknown = document
  for (const part of pointer.slice(2).split('/')) {
    if (typeof value !== 'object' || value === null) return undefined
    value = own(value, part)
  }
  return isSchema(value) ? value : undefined
}

function own(value: object, key: string): unknown {
  return Object.hasOwn(value, key) ? (value as Record<string, unknown>)[key] : undefined
}

/** Whether a value may be a schema: an object. */
export function isSchema(value: unknown): value is Schema {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
