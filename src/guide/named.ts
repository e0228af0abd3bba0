/** Reads guides as requests of other servers' APIs name them: OpenAI's, vLLM's, llama.cpp's and Ollama's. */
import { about, fieldsOf, listOf, oneOf, textOf, withArguments, wrong } from '../base/checks.ts'
import { asForetokenError, ForetokenError } from '../base/errors.ts'
import type { Guide, JsonSchema } from '../base/guide.ts'

/** Fields of a request that give an answer a shape. At most one may. */
export interface NamedGuides {
  /** OpenAI's, of chats and completions. */
  readonly response_format?: unknown
  /** OpenAI's, of responses: the `format` in their `text`. */
  readonly text_format?: unknown
  /** vLLM's. */
  readonly structured_outputs?: unknown
  readonly guided_json?: unknown
  readonly guided_regex?: unknown
  readonly guided_choice?: unknown
  readonly guided_grammar?: unknown
  /** llama.cpp's: a schema, and GBNF. */
  readonly json_schema?: unknown
  readonly grammar?: unknown
  /** Ollama's: `json` or a schema. */
  readonly format?: unknown
}

/** The names of `NamedGuides`. */
export const guideNames = [
  'response_format',
  'text_format',
  'structured_outputs',
  'guided_json',
  'guided_regex',
  'guided_choice',
  'guided_grammar',
  'json_schema',
  'grammar',
  'format',
] as const satisfies readonly (keyof NamedGuides)[]

/**
 * Returns the guide that a request's fields ask for; undefined for plain text. null, false, an empty
 * text and an empty list ask for nothing. Throws `bad_argument` for a malformed field and for two of
 * them, and `unsupported` for what has no equal here.
 */
export function guideOf(fields: NamedGuides): Guide | undefined {
  return withArguments('guideOf', () => {
    const named = fieldsOf('the fields', fields)
    const asked = guideNames.flatMap((name) => {
      const value = named[name]
      const guide = isAsked(value) ? about(name, () => readers[name](name, value)) : undefined
      return guide ? [{ name, guide }] : []
    })
    const [first, second] = asked
    if (first && second)
      throw new ForetokenError(
        'bad_argument',
        `${first.name} and ${second.name} both give the answer a shape; send one of them`,
        { argument: second.name },
      )
    return first?.guide
  })
}

/** An empty list of choices is a shape that nothing has, not the lack of one. */
function isAsked(value: unknown): boolean {
  return Array.isArray(value) || !asksNothing(value)
}

function asksNothing(value: unknown): boolean {
  return (
    value === undefined ||
    value === null ||
    value === false ||
    value === '' ||
    (Array.isArray(value) && value.length === 0)
  )
}

type Reader = (name: string, value: unknown) => Guide | undefined

const readers: Readonly<Record<keyof NamedGuides, Reader>> = {
  response_format: formatOf,
  text_format: formatOf,
  structured_outputs: structured,
  guided_json: (name, value) => ofSchema(name, value),
  guided_regex: (name, value) => ({ kind: 'regex', regex: textOf(name, value) }),
  guided_choice: choicesOf,
  guided_grammar: (name, value) => ofGrammar(textOf(name, value)),
  json_schema: (name, value) => ofSchema(name, value),
  grammar: (name, value) => ofGrammar(textOf(name, value)),
  format: (name, value) => (value === 'json' ? { kind: 'json_object' } : ofSchema(name, value)),
}

function choicesOf(name: string, value: unknown): Guide {
  const choices = listOf<string>(name, value)
  if (choices.length > 0) return { kind: 'choice', choices }
  throw new ForetokenError('bad_argument', `${name} is empty; give at least one text, or leave it out`)
}

/** Reads OpenAI's format: `{type}`, with the schema in `json_schema` (chats) or beside the type (responses). */
function formatOf(name: string, value: unknown): Guide | undefined {
  const {
    type,
    json_schema: nested,
    schema,
  } = fieldsOf<Record<string, unknown>>(name, value as Record<string, unknown>)
  const kind = oneOf(`${name}.type`, type, ['text', 'json_object', 'json_schema'])
  if (kind === 'text') return undefined
  const inner =
    nested === undefined ? schema : fieldsOf(`${name}.json_schema`, nested as Record<string, unknown>).schema
  if (inner !== undefined)
    return ofSchema(nested === undefined ? `${name}.schema` : `${name}.json_schema.schema`, inner)
  if (kind === 'json_object') return { kind: 'json_object' }
  throw new ForetokenError('bad_argument', `${name} has no schema; send it, or the type json_object for any object`)
}

/** Reads vLLM's `structured_outputs`: an object with one of its kinds. */
function structured(name: string, value: unknown): Guide | undefined {
  const fields = fieldsOf<Record<string, unknown>>(name, value as Record<string, unknown>)
  const { json, regex, choice, grammar, json_object: anyObject, disable_any_whitespace: compact, ...rest } = fields
  const unknown = Object.entries(rest).find(([key, field]) => !asksNothing(field) && !withoutEffect.has(key))
  if (unknown)
    throw new ForetokenError(
      'unsupported',
      `${name}.${unknown[0].slice(0, 60)} is not supported by this server; leave it out`,
    )
  const guide = inner({
    ...(json !== undefined && { guided_json: json }),
    ...(regex !== undefined && { guided_regex: regex }),
    ...(choice !== undefined && { guided_choice: choice }),
    ...(grammar !== undefined && { guided_grammar: grammar }),
    ...(anyObject === true && { format: 'json' }),
  })
  if (!guide)
    throw new ForetokenError('bad_argument', `${name} has none of json, regex, choice, grammar and json_object`)
  return compact === true && (guide.kind === 'json_schema' || guide.kind === 'json_object')
    ? { ...guide, compact }
    : guide
}

/** Reads the kinds of one field, which is the one to name. */
function inner(fields: NamedGuides): Guide | undefined {
  try {
    return guideOf(fields)
  } catch (error) {
    const { code, message, cause } = asForetokenError(error)
    throw new ForetokenError(code, message, { cause })
  }
}

/** Returns the first of the fields that asks for a shape; undefined if none does. */
export function guideNameOf(fields: NamedGuides): keyof NamedGuides | undefined {
  return guideNames.find((name) => isAsked(fields[name]))
}

/** Fields that choose how vLLM works, not what it answers. */
const withoutEffect = new Set(['disable_fallback', 'backend', 'backend_was_auto'])

function ofSchema(name: string, value: unknown): Guide {
  if (typeof value === 'string' || typeof value === 'boolean') return { kind: 'json_schema', schema: value }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(name, 'a JSON schema', value)
  return { kind: 'json_schema', schema: value as JsonSchema }
}

/** Tells GBNF from Lark by how its rules begin. */
function ofGrammar(grammar: string): Guide {
  return { kind: /^[ \t]*[a-zA-Z][\w-]*[ \t]*::=/m.test(grammar) ? 'gbnf' : 'lark', grammar }
}
