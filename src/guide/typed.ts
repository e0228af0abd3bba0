/** Guides from schemas of validation libraries, whose answers parse into typed values. */
import { fieldsOf, withArguments, wrong } from '../base/checks.ts'
import { ForetokenError } from '../base/errors.ts'
import type { Guide, JsonSchema } from '../base/guide.ts'

/**
 * A schema of a library that follows Standard Schema and Standard JSON Schema
 * (https://standardschema.dev), such as zod from 4.2 on. `T` is the type of what it returns.
 */
export interface SchemaWithType<T> {
  readonly '~standard': {
    readonly validate: (value: unknown) => Validated<T> | Promise<Validated<T>>
    readonly jsonSchema?: { readonly input: (options: { readonly target: 'draft-2020-12' }) => Record<string, unknown> }
    readonly types?: { readonly input: unknown; readonly output: T } | undefined
  }
}

interface Issue {
  readonly message: string
  readonly path?: readonly unknown[] | undefined
}
type Validated<T> = { readonly value: T; readonly issues?: undefined } | { readonly issues: readonly Issue[] }

/** A guide whose answers are values of `T`. */
export type TypedGuide<T> = Extract<Guide, { kind: 'json_schema' }> & {
  /**
   * Returns the value of a complete answer's text. Throws `bad_argument` for a text that is not
   * complete, for a number that is too large for a double, which JSON may have, and for a text that
   * the schema refuses by rules that no JSON schema has.
   */
  parse(text: string): T
}

/**
 * Returns a guide for answers in JSON of a schema; `parse` returns their values:
 *
 *     const guide = jsonGuide(z.object({ name: z.string(), age: z.int() }))
 *     const { text } = await engine.submit({ prompt, guide }).result()
 *     const { name, age } = guide.parse(text)
 *
 * Throws `bad_argument` for a schema that has no JSON schema.
 */
export function jsonGuide<T = unknown>(
  schema: SchemaWithType<T> | JsonSchema,
  options: { readonly compact?: boolean } = {},
): TypedGuide<T> {
  return withArguments('jsonGuide', () => {
    const { compact = false } = fieldsOf('the options', options, 'be absent')
    const standard = standardOf(schema)
    const json = standard ? schemaOf(standard) : (schema as JsonSchema)
    const parse = (text: string): T => {
      const value = parsed(text)
      return standard ? validated(standard, value) : (value as T)
    }
    return { kind: 'json_schema', schema: json, compact, parse }
  })
}

type Standard<T> = SchemaWithType<T>['~standard']

function standardOf<T>(schema: SchemaWithType<T> | JsonSchema): Standard<T> | undefined {
  if (typeof schema === 'boolean') return undefined
  // Some libraries' schemas are functions.
  if ((typeof schema !== 'object' && typeof schema !== 'function') || schema === null)
    throw wrong('schema', 'a JSON schema, or a schema of a validation library', schema)
  return (schema as Partial<SchemaWithType<T>>)['~standard']
}

function schemaOf<T>({ jsonSchema }: Standard<T>): JsonSchema {
  if (jsonSchema) return jsonSchema.input({ target: 'draft-2020-12' })
  throw new ForetokenError(
    'bad_argument',
    "the schema's library does not convert it (Standard JSON Schema); pass its JSON schema, such as z.toJSONSchema(schema)",
  )
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text, finite)
  } catch (cause) {
    if (cause instanceof ForetokenError) throw cause
    throw new ForetokenError('bad_argument', 'the answer is not complete JSON: it was cut; allow it more tokens', {
      cause,
    })
  }
}

/** JavaScript reads a number beyond its largest as infinite. */
function finite(key: string, value: unknown): unknown {
  if (typeof value !== 'number' || Number.isFinite(value)) return value
  throw new ForetokenError(
    'bad_argument',
    `the answer has a number that is too large${key === '' ? '' : `, in ${key.slice(0, 60)}`}; give the schema a minimum and a maximum`,
  )
}

function validated<T>({ validate }: Standard<T>, value: unknown): T {
  const result = validate(value)
  if (result instanceof Promise)
    throw new ForetokenError('bad_argument', 'the schema validates asynchronously; parse the text with its library')
  if (!result.issues) return result.value
  const [first] = result.issues
  throw new ForetokenError(
    'bad_argument',
    `the answer fits the JSON schema, but not the schema: ${first?.message} at ${JSON.stringify(first?.path ?? [])}`,
  )
}
