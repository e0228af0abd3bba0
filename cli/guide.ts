/** The flags that give an answer a shape. */
import { ForetokenError, type Guide } from '../node/index.ts'
import type { Flags } from './flags.ts'
import { UsageError } from './parse.ts'
import { readText } from './text.ts'

const types = ['object', 'array', 'string', 'number', 'integer', 'boolean', 'null']
const names = ['json-schema', 'choice', 'regex', 'grammar'] as const

/**
 * Returns the guide that the flags ask for; undefined for plain text. Throws `UsageError`, and the
 * errors of `schemaGuide` and `readText`.
 */
export async function guideOfFlags(flags: Flags): Promise<Guide | undefined> {
  const [name, second] = names.filter((name) => flags[name] !== undefined)
  if (second) throw new UsageError(`--${name} and --${second} both give the answer a shape; use one of them`)
  const { 'json-schema': schema, choice, regex, grammar } = flags
  if (schema !== undefined) return schemaGuide(schema)
  if (choice !== undefined) return { kind: 'choice', choices: choice.flatMap(choicesOf) }
  if (regex !== undefined) return { kind: 'regex', regex }
  if (grammar === undefined) return undefined
  const text = await readText(grammar)
  return { kind: /^[ \t]*[a-zA-Z][\w-]*[ \t]*::=/m.test(text) ? 'gbnf' : 'lark', grammar: text }
}

/**
 * Returns a guide for a schema: the name of a type, the schema itself, or a file of it, or stdin for
 * `-`. Throws `bad_argument` for what is not JSON, and the errors of `readText`.
 */
export async function schemaGuide(value: string): Promise<Guide> {
  if (types.includes(value)) return { kind: 'json_schema', schema: { type: value } }
  const itself = value.trimStart().startsWith('{')
  const schema = itself ? value : await fileOf(value)
  try {
    JSON.parse(schema)
  } catch (cause) {
    const where = itself ? 'the schema' : value === '-' ? 'the schema on stdin' : value
    throw new ForetokenError('bad_argument', `${where} is not JSON: ${(cause as Error).message}`, { cause })
  }
  return { kind: 'json_schema', schema }
}

async function fileOf(path: string): Promise<string> {
  try {
    return await readText(path)
  } catch (error) {
    if (!(error instanceof ForetokenError) || error.code !== 'not_found') throw error
    const hint = `a schema is a file, JSON that begins with {, or a type: ${types.join(', ')}`
    throw new ForetokenError('not_found', `${error.message}; ${hint}`, { cause: error })
  }
}

function choicesOf(list: string): string[] {
  const choices = list.split(',')
  if (choices.includes('')) throw new UsageError(`--choice "${list}" has an empty choice; write A,B without one`)
  return choices
}
