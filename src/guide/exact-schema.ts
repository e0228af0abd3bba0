/**
 * Rewrites JSON schemas so that the grammar engine accepts no more than they do: patterns in its
 * syntax, and formats and encodings that it reads loosely, or not at all, as patterns. Refuses by name
 * what it would get wrong.
 */
import { asForetokenError, ForetokenError } from '../base/errors.ts'
import { toolAt } from '../base/guide.ts'
import { engineRegex } from './ecma.ts'
import { subjectOf } from './failure.ts'
import { makePlain } from './plain-schema.ts'
import { jsonInLark } from './rule-chains.ts'
import { isSchema, type Schema } from './schema-chains.ts'
import { SchemaDocument } from './schema-document.ts'

/** Keywords whose value is a schema or a list of them, and those whose members are schemas by name. */
const inner = ['items', 'additionalItems', 'additionalProperties', 'prefixItems', 'anyOf', 'allOf', 'oneOf']
const byName = ['properties', 'patternProperties', '$defs', 'definitions']

/** Days of a month, with the 29th of February in leap years only (RFC 3339, appendix C). */
const date =
  '(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))' +
  '|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)'
/** A second 60 ends a day of UTC (RFC 3339, section 5.7); here it is written in UTC. */
const time =
  '(?:(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]+)?(?:[zZ]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])' +
  '|23:59:60(?:\\.[0-9]+)?(?:[zZ]|[+-]00:00))'
/**
 * A label of 1 to 63 characters. Two hyphens in the third and fourth place mark internationalized
 * labels (RFC 5890, section 2.3.1), of which only some are names: here none are.
 */
const edge = '[a-zA-Z0-9]'
const label = `(?:${edge}{1,2}|${edge}[a-zA-Z0-9-]${edge}|${edge}[a-zA-Z0-9-](?:${edge}[a-zA-Z0-9-]|-${edge})(?:[a-zA-Z0-9-]{0,58}${edge})|${edge}[a-zA-Z0-9-]{2}${edge})`

const base64 = '^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$'

interface Format {
  readonly pattern: string
  readonly longest?: number
  /** Whether the engine's own reading of the format holds, too. */
  readonly beside?: true
}

/** Patterns of formats, in the engine's syntax. */
const formats = new Map<unknown, Format>([
  ['date', { pattern: `^${date}$` }],
  ['time', { pattern: `^${time}$` }],
  ['date-time', { pattern: `^${date}[tT]${time}$` }],
  ['hostname', { pattern: `^${label}(?:\\.${label})*$`, longest: 253 }],
  // OpenAPI's name of base64.
  ['byte', { pattern: base64 }],
  // RFC 3986 lets a URI end behind its scheme; validators in use do not.
  ['uri', { pattern: '^[^:]*:[^?#]', beside: true }],
])

/** Patterns of encodings (RFC 4648 and RFC 2045); undefined where any text is one. */
const encodings = new Map<string, string | undefined>([
  ['8bit', undefined],
  ['binary', undefined],
  ['7bit', '^[\\x{0}-\\x{7F}]*$'],
  ['base16', '^(?:[0-9A-Fa-f]{2})*$'],
  ['base32', '^(?:[A-Z2-7]{8})*(?:[A-Z2-7]{2}={6}|[A-Z2-7]{4}={4}|[A-Z2-7]{5}={3}|[A-Z2-7]{7}=)?$'],
  ['base64', base64],
  ['base64url', '^(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-]{2}(?:==)?|[A-Za-z0-9_-]{3}=?)?$'],
])

/**
 * Returns the schema's text as the engine is to read it. Throws `bad_argument` and `unsupported` with
 * the path of what it can't keep to. Text that is no JSON is the engine's to report.
 */
export function exactSchema(kind: string, text: string, toolOf: ToolOf = () => undefined): string {
  let root: unknown
  try {
    root = JSON.parse(text)
  } catch {
    return text
  }
  if (!isSchema(root)) return text
  const document = new SchemaDocument(root, text)
  const subject = { kind, toolOf }
  let changed = false
  const seen = new Set<Schema>()
  // A stack of our own: the depth is the caller's.
  const pending: [schema: unknown, path: string][] = [[root, '']]
  for (let next = pending.pop(); next; next = pending.pop()) {
    const [schema, path] = next
    if (!isSchema(schema) || seen.has(schema)) continue
    seen.add(schema)
    changed = atPath(subject, path || '/', () => makePlain(schema, document)) || changed
    // Before its keywords change further, for the reference is to a place of the caller's schema.
    if (typeof schema.$ref === 'string') pending.push([document.resolved(schema.$ref), schema.$ref.slice(1)])
    for (const keyword of [...inner, ...byName]) {
      const value = Object.hasOwn(schema, keyword) ? schema[keyword] : undefined
      const at = `${path}/${escaped(keyword)}`
      if (byName.includes(keyword) ? isSchema(value) : Array.isArray(value))
        for (const [name, one] of Object.entries(value as object)) pending.push([one, `${at}/${escaped(name)}`])
      else pending.push([value, at])
    }
    changed = rewritten(subject, schema, path, document) || changed
  }
  for (const schema of seen) if (typeof schema.$ref === 'string') schema.$ref = document.pointerNow(schema.$ref)
  // Numbers that JavaScript can't hold stay as they were written where nothing was changed.
  return changed ? JSON.stringify(root) : text
}

/** Returns a Lark grammar with the schemas in it as the engine is to read them. Throws as `exactSchema`. */
export function exactLark(text: string): string {
  let written = ''
  let end = 0
  for (const [from, to] of jsonInLark(text)) {
    written += `${text.slice(end, from)} ${exactSchema('lark', text.slice(from, to), () => toolAt(text, from))}`
    end = to
  }
  return written + text.slice(end)
}

/** Returns the tool that a schema belongs to; undefined if it belongs to none. */
type ToolOf = () => string | undefined

interface Subject {
  readonly kind: string
  readonly toolOf: ToolOf
}

/** Adds to a failure of `work` what its schema is of, and where in it. */
function atPath<T>({ kind, toolOf }: Subject, path: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    const { code, message } = asForetokenError(error)
    const tool = toolOf()
    throw new ForetokenError(code, `${subjectOf(kind, tool)} at ${path}: ${message}`, {
      cause: error,
      ...(tool !== undefined && { argument: 'tools' }),
    })
  }
}

/** Rewrites the schema's own keywords. Returns whether any changed. */
function rewritten(subject: Subject, schema: Schema, path: string, document: SchemaDocument): boolean {
  const at = <T>(keyword: string, work: () => T): T => atPath(subject, `${path}/${keyword}`, work)
  at('minProperties', () => checkLeast(schema))
  at('contentMediaType', () => checkMediaType(schema.contentMediaType))
  const { pattern, patternProperties, format, contentEncoding } = schema
  let changed = false
  if (typeof pattern === 'string') {
    const translated = at('pattern', () => engineRegex(pattern))
    changed = translated !== pattern
    schema.pattern = translated
  }
  if (isSchema(patternProperties)) {
    const entries = Object.entries(patternProperties).map(
      ([name, value]) => [at('patternProperties', () => engineRegex(name)), value] as const,
    )
    const translated = Object.fromEntries(entries)
    if (Object.keys(translated).length < entries.length)
      at('patternProperties', () => {
        throw new ForetokenError('unsupported', 'two patterns that mean the same are not supported')
      })
    changed ||= entries.some(([name]) => !Object.hasOwn(patternProperties, name))
    for (const [index, name] of Object.keys(patternProperties).entries()) {
      const [now = name] = entries[index] ?? []
      if (now !== name) document.move(translated, name, [now])
    }
    schema.patternProperties = translated
  }
  const known = formats.get(format)
  if (known) {
    if (!known.beside) delete schema.format
    addPattern(schema, known.pattern)
    const { maxLength = Number.POSITIVE_INFINITY } = schema
    if (known.longest !== undefined && typeof maxLength === 'number')
      schema.maxLength = Math.min(known.longest, maxLength)
  }
  const encoding =
    typeof contentEncoding === 'string' ? at('contentEncoding', () => encodingOf(contentEncoding)) : undefined
  if (encoding !== undefined) addPattern(schema, encoding)
  return changed || known !== undefined || encoding !== undefined
}

/** Adds a pattern of the engine's syntax beside the one that the schema may have. */
function addPattern(schema: Schema, pattern: string): void {
  if (!Object.hasOwn(schema, 'pattern')) schema.pattern = pattern
  else schema.allOf = [...(Array.isArray(schema.allOf) ? schema.allOf : []), { pattern }]
}

/**
 * Refuses a least number of properties that a name which is written twice could feign: the engine
 * keeps apart only the names that a schema lists.
 */
function checkLeast({
  minProperties: least,
  required,
  properties,
  additionalProperties,
  patternProperties,
}: Schema): void {
  if (typeof least !== 'number') return
  const names = new Set(Array.isArray(required) ? required : [])
  const listed = additionalProperties === false && patternProperties === undefined && isSchema(properties)
  if (least <= names.size + 1 || listed) return
  throw new ForetokenError(
    'unsupported',
    `at least ${least} properties, of which ${names.size} are required, are not supported; require more of them`,
  )
}

function checkMediaType(name: unknown): void {
  if (typeof name !== 'string') return
  const [base = ''] = name.split(';')
  if (/^\s*(?:application\/json|[^\s]*\+json)\s*$/i.test(base))
    throw new ForetokenError('unsupported', `text that holds JSON (${name.slice(0, 60)}) is not supported`)
}

function encodingOf(name: string): string | undefined {
  const known = name.toLowerCase()
  if (encodings.has(known)) return encodings.get(known)
  const names = [...encodings.keys()].join(', ')
  throw new ForetokenError('unsupported', `the encoding ${name.slice(0, 60)} is not supported; it may be ${names}`)
}

/** A member's name as a part of a JSON pointer. */
function escaped(name: string): string {
  return name.replaceAll('~', '~0').replaceAll('/', '~1')
}
